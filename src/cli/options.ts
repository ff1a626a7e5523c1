/**
 * Options of all verbs: a flag, an environment variable and a key in a TOML file each; flag wins over environment over
 * file over default. Everything wrong is reported at once. Pure: argv, environment and file text come in.
 */
import { UsageError } from "../base/errors.ts";

export type OptionType = "text" | "list" | "number" | "duration" | "flag";

export interface OptionSpec {
  readonly name: string;
  readonly type: OptionType;
  /** As shown in help: FILE, N, … */
  readonly value?: string;
  readonly help: string;
  /** Allowed words. */
  readonly choices?: readonly string[];
  readonly minimum?: number;
  readonly maximum?: number;
  /** Checks one text value; returns what was expected, or null. */
  readonly check?: (text: string) => string | null;
}

export type OptionValue = string | number | boolean | readonly string[];
export type Options = Readonly<Record<string, OptionValue | undefined>>;

export interface Sources {
  /** Arguments after the verb. */
  readonly argv: readonly string[];
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Reads the file named by `--config`; throws what reading throws. */
  readonly readFile: (path: string) => string;
}

export interface Parsed {
  readonly options: Options;
  /** What is no option, in order. */
  readonly words: readonly string[];
}

/** One problem: what was expected, what came, the cure. */
interface Problem {
  readonly text: string;
}

export const environmentName = (name: string): string => `MARMOT_${name.toUpperCase().replaceAll("-", "_")}`;

/** `10s`, `500ms`, `2m`, `1h` ⇒ milliseconds; null: not a duration. */
export function parseDuration(text: string): number | null {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h)$/.exec(text);
  if (match === null) return null;
  const unit = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }[match[2] as "ms" | "s" | "m" | "h"];
  return Math.round(Number(match[1]) * unit);
}

function convert(
  spec: OptionSpec,
  raw: unknown,
  source: string,
  problems: Problem[],
): OptionValue | undefined {
  const refuse = (expected: string): undefined => {
    problems.push({ text: `${source} should be ${expected}, not ${JSON.stringify(raw)}` });
    return undefined;
  };
  if (spec.type === "flag") {
    if (raw === true || raw === "true" || raw === "1" || raw === "") return true;
    if (raw === false || raw === "false" || raw === "0") return false;
    return refuse("true or false");
  }
  if (spec.type === "list") {
    const items = (Array.isArray(raw) ? raw : String(raw).split(","))
      .map((x) => String(x).trim())
      .filter((x) => x !== "");
    for (const item of items) {
      const expected = spec.check?.(item) ?? null;
      if (expected !== null)
        problems.push({ text: `${source}: ${JSON.stringify(item)} should be ${expected}` });
    }
    return items;
  }
  const text = String(raw);
  if (text === "") return refuse(`${spec.value ?? "a value"}; it is empty`);
  if (spec.type === "number") {
    const number = Number(text);
    const { minimum = 0, maximum = Number.MAX_SAFE_INTEGER } = spec;
    if (!/^-?\d+$/.test(text) || number < minimum || number > maximum)
      return refuse(`a whole number from ${minimum} to ${maximum}`);
    return number;
  }
  if (spec.type === "duration") return parseDuration(text) ?? refuse("a duration such as 500ms, 10s or 2m");
  if (spec.choices !== undefined && !spec.choices.includes(text)) return refuse(spec.choices.join(" or "));
  const expected = spec.check?.(text) ?? null;
  return expected === null ? text : refuse(expected);
}

/** Throws `UsageError` with every problem in it. */
export function parseOptions(specs: readonly OptionSpec[], sources: Sources, maximumWords: number): Parsed {
  const byName = new Map(specs.map((s) => [s.name, s]));
  const problems: Problem[] = [];
  const words: string[] = [];
  const given = new Map<string, unknown>();
  const { argv } = sources;
  for (let i = 0; i < argv.length; i++) {
    const word = argv[i]!;
    const match = /^--?([a-z][a-z0-9-]*)(?:=([\s\S]*))?$/.exec(word);
    if (match === null) {
      words.push(word);
      continue;
    }
    const [, name, inline] = match;
    const spec = byName.get(name!);
    if (spec === undefined) {
      const near = nearest(name!, [...byName.keys()]);
      problems.push({
        text: `there is no option --${name}${near === null ? "" : `; did you mean --${near}?`}`,
      });
      continue;
    }
    if (spec.type === "flag") given.set(name!, inline ?? true);
    else if (inline !== undefined) given.set(name!, inline);
    else if (i + 1 < argv.length && !/^--[a-z]/.test(argv[i + 1]!)) given.set(name!, argv[++i]);
    else problems.push({ text: `--${name} needs a value: --${name} ${spec.value ?? "VALUE"}` });
  }
  if (words.length > maximumWords)
    problems.push({
      text: `nothing is expected after the options, but there is ${words.slice(maximumWords).join(" ")}`,
    });
  const file = readConfig(
    given.get("config") ?? sources.environment[environmentName("config")],
    byName,
    sources,
    problems,
  );
  const options: Record<string, OptionValue | undefined> = {};
  for (const spec of specs) {
    const variable = environmentName(spec.name);
    const environment = sources.environment[variable];
    const [raw, source] = given.has(spec.name)
      ? [given.get(spec.name), `--${spec.name}`]
      : environment !== undefined
        ? [environment, variable]
        : [file[spec.name], `${spec.name} in the configuration file`];
    if (raw !== undefined) options[spec.name] = convert(spec, raw, source, problems);
  }
  if (problems.length > 0) throw usage(problems.map((p) => p.text));
  return { options, words };
}

function readConfig(
  path: unknown,
  byName: ReadonlyMap<string, OptionSpec>,
  sources: Sources,
  problems: Problem[],
): Record<string, unknown> {
  if (path === undefined) return {};
  try {
    const values = Bun.TOML.parse(sources.readFile(String(path))) as Record<string, unknown>;
    for (const key of Object.keys(values))
      if (!byName.has(key)) problems.push({ text: `${String(path)}: there is no option ${key}` });
    return values;
  } catch (error) {
    problems.push({
      text: `${String(path)} cannot be read: ${error instanceof Error ? error.message : String(error)}`,
    });
    return {};
  }
}

export function usage(problems: readonly string[]): UsageError {
  return new UsageError(problems.join("\n"), "see marmot help, or marmot VERB --help");
}

/** The option that differs in at most two letters, if any. */
export function nearest(name: string, names: readonly string[]): string | null {
  let best: string | null = null;
  let least = 3;
  for (const candidate of names) {
    const distance = editDistance(name, candidate);
    if (distance < least) {
      least = distance;
      best = candidate;
    }
  }
  return best;
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++)
      next.push(Math.min(next[j - 1]! + 1, row[j]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)));
    row = next;
  }
  return row[b.length]!;
}
