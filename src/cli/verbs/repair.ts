/** `marmot repair`: builds the application's file again from the replica, and keeps the old one. */
import type { FileRepair } from "../../operations/api.ts";
import { NodeClient } from "../client.ts";
import type { CliContext } from "../context.ts";
import type { Options } from "../options/options.ts";
import {
  CONFIG_OPTION,
  DATA_DIR_OPTION,
  dataDirOf,
  DB_OPTION,
  flag,
  JSON_OPTION,
  text,
  type Verb,
} from "../verb.ts";

/** A file is built at some 100,000 rows a second. */
const REPAIR_MS = 3_600_000;
const ANSWER_MS = 2000;

function show({ file, before, rows, journalled, unreadable }: FileRepair): string {
  const lines = [`${file} is built again from the replica`];
  if (before !== null) lines.push(`the old file is ${before}`);
  for (const { table, rows: count } of rows) lines.push(`${table}: ${count} rows only in the old file`);
  if (journalled > 0)
    lines.push(
      `${journalled} of them go into the conflict journal: marmot conflicts list shows them when the node is ready, marmot conflicts restore ID writes one again`,
    );
  for (const { table, reason } of unreadable)
    lines.push(`not readable in the old file: ${table} (${reason})`);
  return lines.join("\n");
}

async function run(options: Options, _words: readonly string[], context: CliContext): Promise<number> {
  const db = text(options, "db")!;
  const dataDir = dataDirOf(options);
  const client = new NodeClient(dataDir);
  let done: FileRepair;
  if (await client.answers(ANSWER_MS))
    done = await client.request<FileRepair>("POST", "/api/v1/repair", REPAIR_MS);
  else {
    const { repairDatabase } = await import("../../node/offline/repair.ts");
    done = await repairDatabase(db, dataDir);
  }
  context.print(flag(options, "json") ? JSON.stringify(done) : show(done));
  return 0;
}

export const repairVerb: Verb = {
  name: "repair",
  summary: "Builds a damaged or older FILE again from the replica.",
  details: [
    "The old file stays beside it. Its own rows go into the conflict journal.",
    "Stop the applications that use FILE; the node may run.",
  ],
  usage: "repair --db FILE [options]",
  options: [DB_OPTION, DATA_DIR_OPTION, JSON_OPTION, CONFIG_OPTION],
  example: "marmot repair --db app.db",
  run,
};
