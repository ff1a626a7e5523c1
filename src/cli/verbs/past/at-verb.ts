/** `marmot at TIME -- COMMAND {}`: runs a command on a read-only file of a moment, from the archive. */
import { chmodSync } from "node:fs";
import { basename, join } from "node:path";
import { errorMessage, UserError } from "../../../base/errors.ts";
import { archivePlace, namesArchive } from "./archive-place.ts";
import type { CliContext } from "../../context.ts";
import { ARCHIVE_KEY_OPTION, ARCHIVE_OPTION } from "../../options/archive-options.ts";
import type { Options } from "../../options/options.ts";
import type { Problem } from "../../output/problem.ts";
import { FUNCTIONS_OPTION, LIBRARIES_OPTION } from "../../run-options.ts";
import { CONFIG_OPTION, text, type Verb } from "../../verb.ts";
import { giveFunctions, OPTIONAL_NODE } from "./archive-verb.ts";
import { inTemporaryFolder } from "./temporary-folder.ts";

/** Words of a command line. */
const MOST_WORDS = 10_000;

async function run(
  options: Options,
  [at, ...command]: readonly string[],
  context: CliContext,
): Promise<number> {
  const { to, keyFile } = await archivePlace(options, null);
  const [{ parseTarget }, { writeMoment }] = await Promise.all([
    import("../../../node/backup/archive-target.ts"),
    import("../../../node/backup/restore-archive.ts"),
  ]);
  await giveFunctions(options);
  const target = parseTarget(at!, null, Date.now());
  return inTemporaryFolder("marmot-at-", context, async (folder) => {
    const file = join(folder, basename(text(options, "db") ?? "moment.db"));
    const { position, time } = await writeMoment({ source: to, keyFile, target }, file);
    context.say(`the state at ${position}, of ${time}`);
    chmodSync(file, 0o400);
    return execute(
      command.map((word) => word.replaceAll("{}", file)),
      context.interrupted(),
    );
  });
}

async function execute(cmd: string[], interrupted: Promise<void>): Promise<number> {
  try {
    const child = Bun.spawn({ cmd, stdin: "inherit", stdout: "inherit", stderr: "inherit" });
    void interrupted.then(() => child.kill());
    return await child.exited;
  } catch (error) {
    if ((error as { code?: string }).code !== "ENOENT") throw error;
    throw new UserError(`${cmd[0]} cannot be run: ${errorMessage(error)}`, "check the command after --", {
      cause: error,
    });
  }
}

function check(options: Options, [at, ...command]: readonly string[]): readonly Problem[] {
  const problems: Problem[] = [];
  if (at === undefined || command.length === 0)
    problems.push({
      message: "at should be followed by a time and, after --, a command",
      hint: "marmot at '10 minutes ago' --db app.db -- sqlite3 {} 'SELECT count(*) FROM orders'",
    });
  else if (!command.some((word) => word.includes("{}")))
    problems.push({
      message: "the command after -- should have {} in the place of the file",
      hint: `marmot at ${JSON.stringify(at)} --db app.db -- ${command[0]!} {}`,
    });
  if (!namesArchive(options))
    problems.push({
      message: "at needs an archive, or the FILE of a node that ships to one",
      hint: "give --archive /archive/app, or --db app.db",
    });
  return problems;
}

export const atVerb: Verb = {
  name: "at",
  summary: "Runs a command on the database of a moment, from the archive.",
  details: [
    "TIME: '10 minutes ago', 10m, a time with its zone, or a position (c:812). The",
    "command finds a read-only file in the place of {}; it is removed afterwards.",
  ],
  usage: "at TIME [options] -- COMMAND {}",
  words: MOST_WORDS,
  actions: [],
  options: [
    ...OPTIONAL_NODE,
    ARCHIVE_OPTION,
    ARCHIVE_KEY_OPTION,
    FUNCTIONS_OPTION,
    LIBRARIES_OPTION,
    CONFIG_OPTION,
  ],
  example: "marmot at '10 minutes ago' --db app.db -- sqlite3 {} .dump",
  check,
  run,
};
