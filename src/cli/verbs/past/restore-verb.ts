/** `marmot restore`: a backup becomes the first file of a new cluster, or the content of a running one. */
import type { WaitResult } from "../../../operations/api.ts";
import type { RestoredFile } from "../../../node/backup/restore-file.ts";
import type { IntoPlan } from "../../../node/backup/restore-into.ts";
import { UserError } from "../../../base/errors.ts";
import { NodeClient } from "../../client.ts";
import type { CliContext } from "../../context.ts";
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

const ORDER_MS = 600_000;
const ANSWER_MS = 5000;

function showFile({ file, source, backup }: RestoredFile): string {
  const about = backup === null ? "" : `: the state at ${backup.position} of ${backup.time}`;
  return `${file} is ${source}${about}\nstart the first node of a new cluster with marmot run --db ${file}`;
}

function showPlan({ source, backup, changes, untouched }: IntoPlan): string {
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
      context.print(json ? JSON.stringify({ ...plan, written: false, position: "" }) : showPlan(plan));
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
    const before = await client.request<WaitResult>("POST", "/api/v1/wait?timeout=60s", ORDER_MS);
    const written = await into.write();
    const { done, missing, position } = await client.requestWait<WaitResult>(
      "/api/v1/wait?timeout=10m",
      ORDER_MS,
    );
    const result = { ...written, written: true, before: before.position, position };
    context.print(
      json
        ? JSON.stringify(result)
        : `${showPlan(written)}\nwritten; ordered at ${position || "no position yet"}`,
    );
    if (!done) context.say(`written to ${db}, and not ordered yet: waiting for ${missing}`);
    return done ? 0 : 1;
  } finally {
    into.close();
  }
}

async function run(options: Options, [source]: readonly string[], context: CliContext): Promise<number> {
  if (flag(options, "into-cluster")) return intoCluster(source!, options, context);
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
      message: "restore should be followed by a backup",
      hint: "marmot restore copy.db --db app.db",
    });
  const misplaced = ["dry-run", "yes"].filter((name) => flag(options, name));
  if (misplaced.length > 0 && !flag(options, "into-cluster"))
    problems.push({
      message: `--${misplaced.join(" and --")} belongs to --into-cluster`,
      hint: "leave it out: without --into-cluster a new file is made, and nothing is replaced",
    });
  return problems;
}

export const restoreVerb: Verb = {
  name: "restore",
  summary: "Makes FILE of a backup, or puts its rows into the cluster.",
  details: [
    "SOURCE: a backup, a folder or s3://BUCKET/PREFIX/ of backups (the newest), or",
    "any plain SQLite file. It is checked against its document and by SQLite.",
    "Without --into-cluster, FILE must not exist: it is the first of a new cluster.",
  ],
  usage: "restore SOURCE --db FILE [options]",
  words: 1,
  options: [
    DB_OPTION,
    DATA_DIR_OPTION,
    { name: "into-cluster", type: "flag", help: "write the rows that differ, on all nodes" },
    { name: "dry-run", type: "flag", help: "only show how many rows that would be" },
    { name: "yes", type: "flag", help: "do not ask" },
    JSON_OPTION,
    CONFIG_OPTION,
  ],
  example: "marmot restore /backups/ --db app.db",
  check,
  run,
};
