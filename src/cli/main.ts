/** The command: runs the verb of the arguments and returns an exit code: 0 done, 1 failed, 2 wrong usage. */
import { visibleLines } from "../base/visible.ts";
import { errorMessage, UsageError, UserError } from "../base/errors.ts";
import type { CliContext } from "./context.ts";
import { didYouMean } from "./options/nearest.ts";
import { parseOptions } from "./options/options.ts";
import { refused, usage } from "./output/problem.ts";
import { help, type Verb } from "./verb.ts";
import { changesVerb } from "./verbs/past/changes-verb.ts";
import { diffVerb } from "./verbs/past/diff-verb.ts";
import { undoVerb } from "./verbs/past/undo-verb.ts";
import { backupVerb } from "./verbs/past/backup-verb.ts";
import { cleanupVerb } from "./verbs/cleanup.ts";
import { conflictsVerb } from "./verbs/conflicts.ts";
import { demoVerb } from "./verbs/demo.ts";
import { doctorVerb } from "./verbs/doctor.ts";
import { keyVerb } from "./verbs/key.ts";
import { membersVerb } from "./verbs/members.ts";
import { rejoinVerb } from "./verbs/rejoin.ts";
import { repairVerb } from "./verbs/repair.ts";
import { restoreVerb } from "./verbs/past/restore-verb.ts";
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
  backupVerb,
  restoreVerb,
  changesVerb,
  diffVerb,
  undoVerb,
  membersVerb,
  repairVerb,
  doctorVerb,
  rejoinVerb,
  cleanupVerb,
  keyVerb,
  demoVerb,
  versionVerb,
];

/** Option names of all verbs. */
const KNOWN: readonly string[] = [...new Set(VERBS.flatMap((v) => v.options.map((o) => o.name)))];

const overview = (): string =>
  [
    "marmot replicates one plain SQLite file to several machines that write to it.",
    "",
    ...VERBS.map((v) => `  ${v.name.padEnd(11)}${v.summary}`),
    "marmot VERB --help shows a verb's options. Each is also a variable, such as",
    "MARMOT_DATA_DIR for --data-dir, and a key of the TOML file that --config names.",
    "",
    "Example: marmot run --db app.db --peers /dns/node-1/tcp/8160",
  ].join("\n");

const isHelp = (word: string | undefined): boolean =>
  word !== undefined && ["help", "--help", "-help", "-h"].includes(word);

/** The spelling of maxpert/marmot v0.3, `marmot -db-path FILE -cleanup`; null: another call. */
function oldSpelling(argv: readonly string[]): string[] | null {
  const isCleanup = (word: string): boolean => /^--?cleanup(=true)?$/.test(word);
  if (!argv.some(isCleanup) || !argv.some((a) => /^--?db-path(=|$)/.test(a))) return null;
  const rest = argv.filter((a) => !isCleanup(a)).map((a) => a.replace(/^--?db-path/, "--db"));
  return ["cleanup", ...rest];
}

/** Runs a verb. Never throws. */
export async function main(given: readonly string[], terminal: CliContext): Promise<number> {
  const argv = oldSpelling(given) ?? given;
  const context: CliContext = {
    ...terminal,
    print: (text) => terminal.print(visibleLines(text)),
    say: (text) => terminal.say(visibleLines(text)),
  };
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
      hint: `marmot help lists them: ${names.join(", ")}`,
    },
  ]);
}

/** Shows all problems of the call, and of the files and ports that it names, before the verb runs. */
async function runVerbOf(verb: Verb, argv: readonly string[], context: CliContext): Promise<number> {
  const sources = { argv, environment: context.environment, readFile: context.readFile };
  const parsed = parseOptions({ specs: verb.options, words: verb.words ?? 0, known: KNOWN }, sources);
  const { options, words } = parsed;
  const problems = [...parsed.problems, ...(verb.check?.(options, words, context) ?? [])];
  const surroundings = (await verb.survey?.(options, context)) ?? [];
  const about = `marmot ${verb.name}`;
  if (problems.length > 0) throw usage([...problems, ...surroundings], about);
  if (surroundings.length > 0) throw refused(surroundings, about);
  return verb.run(options, words, context);
}

/** A `UserError` with its hint; any other error is a bug of Marmot and is shown with its stack. */
function explain(error: unknown): string {
  if (error instanceof UserError) return `marmot: ${error.message}\nhint: ${error.hint}`;
  const stack = error instanceof Error && error.stack !== undefined ? `\n${error.stack}` : "";
  return `marmot: ${errorMessage(error)}${stack}`;
}
