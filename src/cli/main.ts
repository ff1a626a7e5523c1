/** The command: runs the verb of the arguments and returns an exit code: 0 done, 1 failed, 2 wrong usage. */
import { visibleLines } from "../base/visible.ts";
import { errorMessage, UsageError, UserError } from "../base/errors.ts";
import { useS3 } from "../base/s3/s3-client.ts";
import type { CliContext } from "./context.ts";
import { didYouMean } from "./options/nearest.ts";
import { type Options, parseOptions } from "./options/options.ts";
import { beside, type Colors, type Paint, painter, takeColor } from "./output/color.ts";
import { clip, wrap } from "./output/wrap.ts";
import { refused, usage } from "./output/problem.ts";
import { explain as explainOptions, help } from "./help.ts";
import { dataDirOf, text, type Verb } from "./verb.ts";
import { changesVerb } from "./verbs/past/changes-verb.ts";
import { diffVerb } from "./verbs/past/diff-verb.ts";
import { undoVerb } from "./verbs/past/undo-verb.ts";
import { archiveVerb } from "./verbs/past/archive-verb.ts";
import { atVerb } from "./verbs/past/at-verb.ts";
import { backupVerb } from "./verbs/past/backup-verb.ts";
import { cleanupVerb } from "./verbs/cleanup.ts";
import { completionsVerb } from "./verbs/completions.ts";
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
  archiveVerb,
  atVerb,
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
  completionsVerb(() => VERBS),
  versionVerb,
];

/** Option names of all verbs. */
const KNOWN: readonly string[] = ["color", ...new Set(VERBS.flatMap((v) => v.options.map((o) => o.name)))];

/** Lines of a screen, as for the help of a verb. */
const SCREEN_LINES = 24;

const SUMMARY_WIDTH = 66;

const overview = (): string => {
  const before = ["marmot replicates one plain SQLite file to several machines that write to it.", ""];
  const after = [
    "",
    "marmot VERB --help shows a verb's options. Each is also a variable, such as",
    "MARMOT_DATA_DIR for --data-dir, and a key of the TOML file that --config names.",
    "--color auto|always|never and NO_COLOR hold for all; -v prints the version.",
    "",
    "Example: marmot run --db app.db --peers /dns/node-1/tcp/8160",
  ];
  const lines = VERBS.map((v) => `  ${v.name.padEnd(11)} ${clip(v.summary, SUMMARY_WIDTH)}`);
  if (before.length + lines.length + after.length <= SCREEN_LINES)
    return [...before, ...lines, ...after].join("\n");
  // The rest by name alone.
  const few = lines.slice(0, SCREEN_LINES - before.length - after.length - 2);
  const rest = VERBS.slice(few.length).map((v) => v.name);
  return [...before, ...few, wrap(`  also:  ${rest.join("  ")}`), ...after].join("\n");
};

const isHelp = (word: string | undefined): boolean =>
  word !== undefined && ["help", "--help", "-help", "-h"].includes(word);

/** The spelling of maxpert/marmot v0.3, `marmot -db-path FILE -cleanup`; null: another call. */
function oldSpelling(argv: readonly string[]): string[] | null {
  const isCleanup = (word: string): boolean => /^--?cleanup(=true)?$/.test(word);
  if (!argv.some(isCleanup) || !argv.some((a) => /^--?db-path(=|$)/.test(a))) return null;
  const rest = argv.filter((a) => !isCleanup(a)).map((a) => a.replace(/^--?db-path/, "--db"));
  return ["cleanup", ...rest];
}

/** Names and texts of others are printed without control characters; colours are those of this program. */
const withVisibleText = (terminal: CliContext, colors: Colors): CliContext => ({
  ...terminal,
  colors,
  print: (text) => terminal.print(beside(text, colors.out, visibleLines)),
  say: (text) => terminal.say(beside(text, colors.err, visibleLines)),
});

/** Runs a verb. Never throws. */
export async function main(given: readonly string[], terminal: CliContext): Promise<number> {
  let context = withVisibleText(terminal, { out: false, err: false });
  useS3(terminal.environment);
  try {
    const { argv: plain, colors } = takeColor(given, terminal.environment, terminal.colors);
    context = withVisibleText(terminal, colors);
    const argv = oldSpelling(plain) ?? plain;
    const [name, ...rest] = argv;
    if (name === undefined) {
      context.say(overview());
      return 2;
    }
    if (isHelp(name)) {
      context.print(helpOf(rest));
      return 0;
    }
    if (["--version", "-version", "-v", "-V"].includes(name)) return await versionVerb.run({}, [], context);
    const verb = verbOf(name);
    if (rest.some((word) => isHelp(word) && word !== "help")) {
      context.print(help(verb));
      return 0;
    }
    return await runVerbOf(verb, rest, context);
  } catch (error) {
    context.say(explain(error, painter(context.colors.err)));
    return error instanceof UsageError ? 2 : 1;
  }
}

/** `marmot help`, `marmot help VERB`, `marmot help VERB OPTION`, `marmot help VERB all`. */
function helpOf([name, option]: readonly string[]): string {
  if (name === undefined) return overview();
  const verb = verbOf(name);
  if (option === undefined) return help(verb);
  const found = explainOptions(verb, option);
  if (found !== null) return found;
  const names = verb.options.map((o) => o.name);
  throw usage([
    {
      message: `marmot ${verb.name} has no option ${option}${didYouMean(option.replace(/^--?/, ""), names)}`,
      hint: `marmot help ${verb.name} all explains each`,
    },
  ]);
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
  const parsed = parseOptions(
    {
      specs: [...verb.options, ...(verb.also ?? [])],
      words: verb.words ?? 0,
      known: KNOWN,
      ...(verb.actions === undefined ? { positional: "db" } : {}),
    },
    sources,
  );
  const { options, words } = parsed;
  const problems = [...parsed.problems, ...(verb.check?.(options, words, context) ?? [])];
  const surroundings = (await verb.survey?.(options, context)) ?? [];
  const about = `marmot ${verb.name}`;
  if (problems.length > 0) throw usage([...problems, ...surroundings], about);
  if (surroundings.length > 0) throw refused(surroundings, about);
  try {
    return await verb.run(options, words, context);
  } catch (error) {
    throw await inWords(error, options);
  }
}

/** An error of the files that the options name. */
async function inWords(error: unknown, options: Options): Promise<unknown> {
  const db = text(options, "db");
  if (error instanceof UserError || db === null) return error;
  const { nodeFileError } = await import("../node/startup/file-access.ts");
  const { dataPaths } = await import("../replication/machine/data-paths.ts");
  return nodeFileError(error, { db, ...dataPaths(dataDirOf(options)) }) ?? error;
}

/** A `UserError` with its hint; any other error is a bug of Marmot and is shown with its stack. */
function explain(error: unknown, paint: Paint): string {
  if (error instanceof UserError)
    return `${paint("bad", "marmot:")} ${error.message}\n${paint("ok", "hint:")} ${error.hint}`;
  const stack = error instanceof Error && error.stack !== undefined ? `\n${error.stack}` : "";
  return `marmot: ${errorMessage(error)}${stack}`;
}
