/** From arguments to a verb and an exit code: 0 done, 1 failed, 2 wrong usage. */
import { errorMessage, UsageError, UserError } from "../base/errors.ts";
import type { CliContext } from "./context.ts";
import { environmentName, nearest, parseOptions, usage } from "./options.ts";
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

const overview = (): string =>
  [
    "marmot replicates one plain SQLite file to several machines while applications write to it.",
    "",
    ...VERBS.map((v) => `  ${v.name.padEnd(10)} ${v.summary.split("\n")[0]!}`),
    "",
    "Every option of every verb: marmot VERB --help. Also as MARMOT_… in the environment, or in a TOML file (--config).",
    "",
    "Example: marmot run --db app.db --peers /dns/node-1/tcp/8160 --cluster-key cluster.key",
  ].join("\n");

/** The ancestor's spelling: `marmot -db-path FILE -cleanup`. Null: it is not that. */
function ancestral(argv: readonly string[]): string[] | null {
  if (!argv.some((a) => /^--?cleanup$/.test(a)) || !argv.some((a) => /^--?db-path(=|$)/.test(a))) return null;
  const rest = argv.filter((a) => !/^--?cleanup$/.test(a)).map((a) => a.replace(/^--?db-path/, "--db"));
  return ["cleanup", ...rest];
}

/** Runs a verb. Never throws. */
export async function main(given: readonly string[], context: CliContext): Promise<number> {
  const argv = ancestral(given) ?? given;
  try {
    const [name, ...rest] = argv;
    if (name === undefined || name === "help" || name === "--help" || name === "-h") {
      const about = VERBS.find((v) => v.name === rest[0]);
      context.print(about === undefined ? overview() : help(about));
      return 0;
    }
    if (name === "--version") return await versionVerb.run({}, [], context);
    const verb = VERBS.find((v) => v.name === name);
    if (verb === undefined) {
      const near = nearest(
        name,
        VERBS.map((v) => v.name),
      );
      throw usage([`there is no verb ${name}${near === null ? "" : `; did you mean ${near}?`}`]);
    }
    if (rest.includes("--help") || rest.includes("-h")) {
      context.print(help(verb));
      return 0;
    }
    // Variables of other verbs' options are no mistake; only this verb's are read.
    const relevant = Object.fromEntries(
      verb.options.map((o) => environmentName(o.name)).map((v) => [v, context.environment[v]]),
    );
    const { options, words } = parseOptions(
      verb.options,
      { argv: rest, environment: relevant, readFile: context.readFile },
      verb.words ?? 0,
    );
    return await verb.run(options, words, context);
  } catch (error) {
    context.say(explain(error));
    return error instanceof UsageError ? 2 : 1;
  }
}

function explain(error: unknown): string {
  if (error instanceof UserError) return `marmot: ${error.message}\ncure: ${error.cure}`;
  return `marmot: ${errorMessage(error)}\n${error instanceof Error ? (error.stack ?? "") : ""}`;
}
