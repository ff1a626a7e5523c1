/** From arguments to a verb and an exit code: 0 done, 1 failed, 2 wrong usage. */
import { errorMessage, UsageError, UserError } from "../base/errors.ts";
import type { CliContext } from "./context.ts";
import { didYouMean } from "./options/nearest.ts";
import { parseOptions } from "./options/options.ts";
import { refused, usage } from "./output/problem.ts";
import { help, type Verb } from "./verb.ts";
import { cleanupVerb } from "./verbs/cleanup.ts";
import { conflictsVerb } from "./verbs/conflicts.ts";
import { demoVerb } from "./verbs/demo.ts";
import { doctorVerb } from "./verbs/doctor.ts";
import { keyVerb } from "./verbs/key.ts";
import { runVerb } from "./verbs/run.ts";
import { statusVerb } from "./verbs/status.ts";
import { verifyVerb } from "./verbs/verify.ts";
import { versionVerb } from "./verbs/version.ts";
import { waitVerb } from "./verbs/wait.ts";

export const VERBS: readonly Verb[] = [
  runVerb,
  statusVerb,
  waitVerb,
  verifyVerb,
  conflictsVerb,
  doctorVerb,
  cleanupVerb,
  keyVerb,
  demoVerb,
  versionVerb,
];

/** Names of the options of all verbs. */
const KNOWN: readonly string[] = [...new Set(VERBS.flatMap((v) => v.options.map((o) => o.name)))];

const overview = (): string =>
  [
    "marmot replicates one plain SQLite file to several machines while applications",
    "write to it.",
    "",
    ...VERBS.map((v) => `  ${v.name.padEnd(11)}${v.summary}`),
    "",
    "marmot VERB --help shows a verb's options. Each is also a variable, such as",
    "MARMOT_DATA_DIR for --data-dir, and a key of the TOML file that --config names.",
    "",
    "Example: marmot run --db app.db --peers /dns/node-1/tcp/8160",
  ].join("\n");

const isHelp = (word: string | undefined): boolean =>
  word !== undefined && ["help", "--help", "-help", "-h"].includes(word);

/** The ancestor's spelling: `marmot -db-path FILE -cleanup`. Null: it is not that. */
function ancestral(argv: readonly string[]): string[] | null {
  const isCleanup = (word: string): boolean => /^--?cleanup(=true)?$/.test(word);
  if (!argv.some(isCleanup) || !argv.some((a) => /^--?db-path(=|$)/.test(a))) return null;
  const rest = argv.filter((a) => !isCleanup(a)).map((a) => a.replace(/^--?db-path/, "--db"));
  return ["cleanup", ...rest];
}

/** Runs a verb. Never throws. */
export async function main(given: readonly string[], context: CliContext): Promise<number> {
  const argv = ancestral(given) ?? given;
  try {
    const [name, ...rest] = argv;
    if (name === undefined) {
      context.say(overview());
      return 2;
    }
    if (isHelp(name)) {
      context.print(rest[0] === undefined ? overview() : help(verbOf(rest[0])));
      return 0;
    }
    if (name === "--version" || name === "-version") return await versionVerb.run({}, [], context);
    const verb = verbOf(name);
    if (rest.some((word) => isHelp(word) && word !== "help")) {
      context.print(help(verb));
      return 0;
    }
    return await runVerbOf(verb, rest, context);
  } catch (error) {
    context.say(explain(error));
    return error instanceof UsageError ? 2 : 1;
  }
}

function verbOf(name: string): Verb {
  const verb = VERBS.find((v) => v.name === name);
  if (verb !== undefined) return verb;
  const names = VERBS.map((v) => v.name);
  throw usage([
    {
      message: `there is no verb ${name}${didYouMean(name, names)}`,
      cure: `marmot help lists them: ${names.join(", ")}`,
    },
  ]);
}

/** Everything that is wrong with the call, and with what it names, is told at once, before anything is done. */
async function runVerbOf(verb: Verb, argv: readonly string[], context: CliContext): Promise<number> {
  const sources = { argv, environment: context.environment, readFile: context.readFile };
  const parsed = parseOptions({ specs: verb.options, words: verb.words ?? 0, known: KNOWN }, sources);
  const { options, words } = parsed;
  const problems = [...parsed.problems, ...(verb.check?.(options, words, context) ?? [])];
  const met = (await verb.survey?.(options, context)) ?? [];
  const about = `marmot ${verb.name}`;
  if (problems.length > 0) throw usage([...problems, ...met], about);
  if (met.length > 0) throw refused(met, about);
  return verb.run(options, words, context);
}

/** A user's problem with its cure; anything else is ours, and shows where it comes from. */
function explain(error: unknown): string {
  if (error instanceof UserError) return `marmot: ${error.message}\ncure: ${error.cure}`;
  const stack = error instanceof Error && error.stack !== undefined ? `\n${error.stack}` : "";
  return `marmot: ${errorMessage(error)}${stack}`;
}
