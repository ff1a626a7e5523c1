/** `marmot restore`: a backup becomes the first file of a new cluster, or the content of a running one. */
import { shellWord, totalRows } from "../../../base/text/spans.ts";
import { join } from "node:path";
import type { NodeStatus, WaitResult } from "../../../operations/api.ts";
import type { RestoredFile } from "../../../node/backup/restore-file.ts";
import type { MomentOptions, RestoredMoment } from "../../../node/backup/restore-archive.ts";
import type { IntoDocument, IntoPlan } from "../../../node/backup/restore-into.ts";
import { UserError } from "../../../base/errors.ts";
import { NodeClient } from "../../client.ts";
import type { CliContext } from "../../context.ts";
import type { OptionSpec } from "../../options/option-value.ts";
import type { Options } from "../../options/options.ts";
import type { Problem } from "../../output/problem.ts";
import { table } from "../../output/table.ts";
import {
  CONFIG_OPTION,
  DATA_DIR_OPTION,
  dataDirOf,
  DB_OPTION,
  flag,
  JSON_OPTION,
  text,
  type Verb,
} from "../../verb.ts";
import { FUNCTIONS_OPTION, LIBRARIES_OPTION } from "../../run-options.ts";
import { ARCHIVE_KEY_OPTION } from "../../options/archive-options.ts";
import { giveFunctions } from "./archive-verb.ts";
import { inTemporaryFolder } from "./temporary-folder.ts";

const ORDER_MS = 600_000;
const ANSWER_MS = 5000;

function showFile({ file, source, backup }: RestoredFile): string {
  const about = backup === null ? "" : `: the state at ${backup.position} of ${backup.time}`;
  return `${file} is ${source}${about}\nstart the first node of a new cluster with marmot run --db ${shellWord(file)}`;
}

function showMoment({ file, source, position, time, rows }: RestoredMoment & { file: string }): string {
  return `${file} is the state at ${position}, of ${time}, from ${source}: ${totalRows(rows)} rows\nstart the first node of a new cluster with marmot run --db ${shellWord(file)}`;
}

function showPlan({ source, backup, changes, untouched, missing }: IntoPlan): string {
  const about = backup === null ? "" : `, the state at ${backup.position} of ${backup.time}`;
  const lines = [`${source}${about}`];
  if (changes.length === 0) lines.push("no row differs");
  else
    lines.push(
      table(
        ["TABLE", "INSERT", "UPDATE", "DELETE"],
        changes.map((c) => [c.table, String(c.insert), String(c.update), String(c.delete)]),
      ),
    );
  if (missing.length > 0)
    lines.push(`in the backup, but not replicated here, and left out: ${missing.join(", ")}`);
  if (untouched.length > 0) lines.push(`not in the backup, and left as they are: ${untouched.join(", ")}`);
  return lines.join("\n");
}

async function intoCluster(source: string, options: Options, context: CliContext): Promise<number> {
  const db = text(options, "db")!;
  const dataDir = dataDirOf(options);
  const client = new NodeClient(dataDir);
  if (!(await client.answers(ANSWER_MS)))
    throw new UserError(
      `no node runs on ${dataDir}, so the content could not reach the cluster`,
      "start it with marmot run, or restore into a new file without --into-cluster",
    );
  const json = flag(options, "json");
  const { RestoreInto } = await import("../../../node/backup/restore-into.ts");
  const into = await RestoreInto.open({ source, db, dataDir });
  try {
    const plan = await into.plan();
    if (flag(options, "dry-run") || plan.changes.length === 0) {
      const document: IntoDocument = { ...plan, written: false, position: "" };
      context.print(json ? JSON.stringify(document) : showPlan(plan));
      return 0;
    }
    if (!flag(options, "yes")) {
      context.say(showPlan(plan));
      const answer = context.ask("Write this into the cluster? [yes/no]");
      if (answer === null)
        throw new UserError(
          "nothing is written: there is no terminal to ask",
          "give --yes to write it, or --dry-run",
        );
      if (answer !== "y" && answer !== "yes")
        throw new UserError("nothing is written", "answer yes to write it");
    }
    await requireWriter(client);
    const before = await client.request<WaitResult>("POST", "/api/v1/wait?timeout=60s", ORDER_MS);
    const written = await into.write();
    const { done, missing, position } = await client.requestWait<WaitResult>(
      "/api/v1/wait?timeout=10m",
      ORDER_MS,
    );
    const result: IntoDocument = { ...written, written: true, before: before.position, position };
    context.print(
      json
        ? JSON.stringify(result)
        : `${showPlan(written)}\nwritten; ordered at ${position || "no position yet"}\nmarmot undo --since ${before.position} --db ${shellWord(db)} takes it back`,
    );
    if (!done) context.say(`written to ${db}, and not ordered yet: waiting for ${missing}`);
    return done ? 0 : 1;
  } finally {
    into.close();
  }
}

/** Before anything is written: the file of a reader refuses each row. */
async function requireWriter(client: NodeClient): Promise<void> {
  const { node, members } = await client.request<NodeStatus>("GET", "/api/v1/status", ANSWER_MS);
  if (members.find(({ peerId }) => peerId === node.peerId)?.role !== "reader") return;
  throw new UserError(
    `${node.name} is a reader, and sends no rows of its own`,
    "run the command on a voter or a learner of the cluster; marmot members list shows them",
  );
}

async function fromArchive(source: string, options: Options, context: CliContext): Promise<number> {
  const { restoreMoment } = await import("../../../node/backup/restore-archive.ts");
  const moment = await restoreMoment(await momentOf(source, options), {
    ...{ db: text(options, "db")!, dataDir: dataDirOf(options) },
  });
  context.print(flag(options, "json") ? JSON.stringify(moment) : showMoment(moment));
  return 0;
}

async function momentOf(source: string, options: Options): Promise<MomentOptions> {
  const { parseTarget } = await import("../../../node/backup/archive-target.ts");
  await giveFunctions(options);
  const target = parseTarget(text(options, "at"), text(options, "position"), Date.now());
  return { source, keyFile: text(options, "archive-key"), target };
}

/** A moment of an archive is written into a temporary file first, which is then put into the cluster as a backup is. */
async function momentIntoCluster(source: string, options: Options, context: CliContext): Promise<number> {
  const { writeMoment } = await import("../../../node/backup/restore-archive.ts");
  return inTemporaryFolder("marmot-restore-", context, async (folder) => {
    const file = join(folder, "moment.db");
    const { position, time } = await writeMoment(await momentOf(source, options), file);
    context.say(`the state at ${position}, of ${time}`);
    return intoCluster(file, options, context);
  });
}

async function isMoment(source: string, options: Options): Promise<boolean> {
  if (["at", "position", "archive-key"].some((name) => text(options, name) !== null)) return true;
  const { isArchive } = await import("../../../node/backup/restore-archive.ts");
  return isArchive(source);
}

async function run(options: Options, [source]: readonly string[], context: CliContext): Promise<number> {
  const moment = await isMoment(source!, options);
  if (flag(options, "into-cluster"))
    return moment ? momentIntoCluster(source!, options, context) : intoCluster(source!, options, context);
  if (moment) return fromArchive(source!, options, context);
  const db = text(options, "db")!;
  const { restoreFile } = await import("../../../node/backup/restore-file.ts");
  const done = await restoreFile({ source: source!, db, dataDir: dataDirOf(options) });
  context.print(flag(options, "json") ? JSON.stringify(done) : showFile(done));
  return 0;
}

function check(options: Options, [source]: readonly string[]): readonly Problem[] {
  const problems: Problem[] = [];
  if (source === undefined || source === "")
    problems.push({
      message: "restore needs the backup, and then the --db FILE to make of it",
      hint: "marmot restore copy.db --db app.db",
    });
  if (text(options, "at") !== null && text(options, "position") !== null)
    problems.push({
      message: "--at and --position both name a moment",
      hint: "leave one of them out",
    });
  const misplaced = ["dry-run", "yes"].filter((name) => flag(options, name));
  if (misplaced.length > 0 && !flag(options, "into-cluster"))
    problems.push({
      message: `--${misplaced.join(" and --")} belongs to --into-cluster`,
      hint: "leave it out: without --into-cluster a new file is made, and nothing is replaced",
    });
  return problems;
}

const POSITION: OptionSpec = {
  ...{ name: "position", type: "text", value: "POS", help: "or position" },
  example: "c:812",
};

export const restoreVerb: Verb = {
  name: "restore",
  summary: "Makes FILE of a backup, or puts its rows into the cluster.",
  details: [
    "SOURCE: a backup, a folder or s3://BUCKET/PREFIX/ of backups (the newest), or",
    "any plain SQLite file. Of an archive --at or --position choose a moment, for",
    "example --at '10 minutes ago'; without them it is the newest state.",
    "Without --into-cluster, FILE must not exist: it is the first of a new cluster.",
  ],
  usage: "restore SOURCE --db FILE [options]",
  words: 1,
  options: [
    DB_OPTION,
    DATA_DIR_OPTION,
    { name: "at", type: "text", value: "TIME", help: "of an archive: this moment; ", example: "10m" },
    { ...POSITION, joined: true },
    ARCHIVE_KEY_OPTION,
    { name: "into-cluster", type: "flag", help: "write the rows that differ, on all nodes" },
    { name: "dry-run", type: "flag", help: "only show how many rows that would be" },
    { name: "yes", type: "flag", help: "do not ask" },
    FUNCTIONS_OPTION,
    LIBRARIES_OPTION,
    JSON_OPTION,
    CONFIG_OPTION,
  ],
  example: "marmot restore /backups/ --db app.db",
  check,
  run,
};
