/**
 * Parses the options of a verb. Each is a flag, an environment variable and a key of a TOML file; the flag wins over the
 * variable, the variable over the file, the file over the default. Pure: takes texts, returns values and all problems.
 */
import { errorMessage } from "../../base/errors.ts";
import { didYouMean } from "./nearest.ts";
import { convert, type OptionSpec, type OptionValue } from "./option-value.ts";
import type { Problem } from "../output/problem.ts";

export type Options = Readonly<Record<string, OptionValue | undefined>>;

export interface Sources {
  /** Arguments after the verb. */
  readonly argv: readonly string[];
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Reads the file named by `--config`; may throw. */
  readonly readFile: (path: string) => string;
}

export interface Parsed {
  /** The options that were given and are valid. */
  readonly options: Options;
  /** The arguments that are no options, in order. */
  readonly words: readonly string[];
  readonly problems: readonly Problem[];
}

export const environmentName = (name: string): string => `MARMOT_${name.toUpperCase().replaceAll("-", "_")}`;

export interface VerbOptions {
  readonly specs: readonly OptionSpec[];
  /** The largest number of words beside options. */
  readonly words: number;
  /** An option whose value may be given as a word before the others, such as `db`. */
  readonly positional?: string;
  /** Option names of all verbs. In the environment and in a file they are no mistake. */
  readonly known: readonly string[];
}

/** Never throws; problems are in the result. */
export function parseOptions(
  { specs, words: maximumWords, known, positional }: VerbOptions,
  sources: Sources,
): Parsed {
  const problems: Problem[] = [];
  const { given, words, unfinished } = readArguments(specs, sources.argv, problems);
  refuseMisspelt(sources.environment, known, problems);
  const config = given.get("config") ?? (sources.environment[environmentName("config")] || undefined);
  const takesFile = specs.some((s) => s.name === "config");
  const file = readConfig(takesFile ? config : undefined, known, sources, problems);
  const first = specs.find((s) => s.name === positional);
  const isSet = ({ name }: OptionSpec): boolean =>
    given.has(name) || file[name] !== undefined || Boolean(sources.environment[environmentName(name)]);
  const others = specs.filter((s) => s.name === first?.required || s === first);
  if (first !== undefined && words.length > 0 && !others.some(isSet))
    take(first, words.shift()!, given, problems);
  refuseExtra(words, maximumWords, problems);
  const options: Record<string, OptionValue | undefined> = {};
  const missing: OptionSpec[] = [];
  for (const spec of specs) {
    const variable = environmentName(spec.name);
    // Containers pass a variable that is not given as an empty one.
    const fromEnvironment = sources.environment[variable] || undefined;
    const [raw, source] = given.has(spec.name)
      ? [given.get(spec.name), `--${spec.name}`]
      : fromEnvironment !== undefined
        ? [fromEnvironment, variable]
        : [file[spec.name], `${spec.name} in the configuration file`];
    if (raw === undefined) {
      // An option without its value has its problem already.
      if (!unfinished.has(spec.name)) missing.push(spec);
      continue;
    }
    const value = convert(spec, raw, source, problems);
    if (value !== undefined) options[spec.name] = value;
  }
  const absent = new Set(missing.map((s) => s.name));
  for (const spec of missing) {
    const { required } = spec;
    if (required === true || (required !== undefined && absent.has(required)))
      problems.push(
        missingOption(spec, required === true ? undefined : specs.find((s) => s.name === required)),
      );
  }
  return { options, words, problems };
}

function refuseExtra(words: readonly string[], maximum: number, problems: Problem[]): void {
  if (words.length <= maximum) return;
  problems.push({
    message: `no more words are expected beside the options, but there is ${words.slice(maximum).join(" ")}`,
    hint: "leave it out, or quote values with spaces",
  });
}

function missingOption(spec: OptionSpec, other: OptionSpec | undefined): Problem {
  const names = [spec, other].flatMap((s) => (s === undefined ? [] : [`--${s.name} ${s.value ?? "VALUE"}`]));
  return {
    message: `${names.join(" or ")} is needed: ${other === undefined ? spec.help : "which node?"}`,
    hint: `for example --${spec.name} ${spec.example ?? "VALUE"}`,
  };
}

/** Flags are `--name value` or `--name=value`, with one dash or two; `--` ends them. */
function readArguments(
  specs: readonly OptionSpec[],
  argv: readonly string[],
  problems: Problem[],
): { given: Map<string, unknown>; words: string[]; unfinished: Set<string> } {
  const byName = new Map(specs.map((s) => [s.name, s]));
  const given = new Map<string, unknown>();
  const words: string[] = [];
  const unfinished = new Set<string>();
  for (let i = 0; i < argv.length; i++) {
    const word = argv[i]!;
    if (word === "--") {
      words.push(...argv.slice(i + 1));
      break;
    }
    const match = /^--?([A-Za-z][\w-]*)(?:=([\s\S]*))?$/.exec(word);
    if (match === null) {
      words.push(word);
      continue;
    }
    const name = match[1]!;
    const inline = match[2];
    const spec = byName.get(name);
    if (spec === undefined) {
      problems.push({
        message: `there is no option --${name}${didYouMean(name, [...byName.keys()], "--")}`,
        hint: "leave it out, or correct it",
      });
      // The value of an unknown option is not a second problem.
      if (inline === undefined && i + 1 < argv.length && !argv[i + 1]!.startsWith("-")) i++;
    } else if (spec.type === "flag") {
      take(spec, inline ?? true, given, problems);
    } else if (inline !== undefined) {
      take(spec, inline, given, problems);
    } else if (i + 1 < argv.length && !/^--[a-z]/.test(argv[i + 1]!)) {
      take(spec, argv[++i]!, given, problems);
    } else {
      unfinished.add(name);
      problems.push({
        message: `--${name} should be followed by ${spec.value ?? "a value"}, but nothing follows`,
        hint: `--${name} ${spec.example ?? spec.value ?? "VALUE"}`,
      });
    }
  }
  return { given, words, unfinished };
}

/** A list may be given in parts. Any other option given twice with different values is a problem. */
function take(spec: OptionSpec, raw: string | true, given: Map<string, unknown>, problems: Problem[]): void {
  const before = given.get(spec.name);
  if (spec.type === "list") given.set(spec.name, [...((before as string[] | undefined) ?? []), raw]);
  else if (before !== undefined && before !== raw)
    problems.push({
      message: `--${spec.name} is given twice, as ${String(before)} and as ${String(raw)}`,
      hint: "give it once",
    });
  else given.set(spec.name, raw);
}

/** Variables of other programs may begin with MARMOT_ (service links of containers): only near misses are refused. */
function refuseMisspelt(
  environment: Readonly<Record<string, string | undefined>>,
  known: readonly string[],
  problems: Problem[],
): void {
  const names = known.map(environmentName);
  for (const variable of Object.keys(environment)) {
    if (!variable.startsWith("MARMOT_") || names.includes(variable) || !environment[variable]) continue;
    const hint = didYouMean(variable, names);
    if (hint !== "")
      problems.push({
        message: `there is no option for the variable ${variable}${hint}`,
        hint: `correct it, or unset ${variable}`,
      });
  }
}

function readConfig(
  path: unknown,
  known: readonly string[],
  sources: Sources,
  problems: Problem[],
): Readonly<Record<string, unknown>> {
  if (path === undefined) return {};
  let values: Record<string, unknown>;
  try {
    values = Bun.TOML.parse(sources.readFile(String(path))) as Record<string, unknown>;
  } catch (error) {
    problems.push({
      message: `--config should name a TOML file; ${String(path)} cannot be read as one: ${errorMessage(error)}`,
      hint: 'check the path and the file; a line of it reads like listen = "/ip4/0.0.0.0/tcp/8160"',
    });
    return {};
  }
  // A configuration file cannot name another one.
  const allowed = known.filter((name) => name !== "config");
  for (const key of Object.keys(values))
    if (!allowed.includes(key))
      problems.push({
        message: `${String(path)}: there is no option ${key}${didYouMean(key, allowed)}`,
        hint: "remove the line, or correct it",
      });
  return values;
}
