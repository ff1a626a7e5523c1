/** `marmot restore`: a backup becomes the first file of a new cluster, or the content of a running one. */
import type { RestoredFile } from "../../node/backup/restore-file.ts";
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

function show({ file, source, backup }: RestoredFile): string {
  const about = backup === null ? "" : `: the state at ${backup.position} of ${backup.time}`;
  return `${file} is ${source}${about}\nstart the first node of a new cluster with marmot run --db ${file}`;
}

async function run(options: Options, [source]: readonly string[], context: CliContext): Promise<number> {
  const db = text(options, "db")!;
  const { restoreFile } = await import("../../node/backup/restore-file.ts");
  const done = await restoreFile({ source: source!, db, dataDir: dataDirOf(options) });
  context.print(flag(options, "json") ? JSON.stringify(done) : show(done));
  return 0;
}

export const restoreVerb: Verb = {
  name: "restore",
  summary: "Makes FILE from a backup, for the first node of a new cluster.",
  details: [
    "SOURCE: a backup, a folder or s3://BUCKET/PREFIX/ of backups (the newest), or any",
    "plain SQLite file. It is checked against its document and by integrity_check.",
  ],
  usage: "restore SOURCE --db FILE [options]",
  words: 1,
  options: [DB_OPTION, DATA_DIR_OPTION, JSON_OPTION, CONFIG_OPTION],
  example: "marmot restore /backups/ --db app.db",
  check: (_options, [source]) =>
    source === undefined || source === ""
      ? [{ message: "restore should be followed by a backup", hint: "marmot restore copy.db --db app.db" }]
      : [],
  run,
};
