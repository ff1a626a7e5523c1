/** `marmot backup`: a clean copy of the application's database, from the replica. */
import { backupBase } from "../../../node/backup/backup-base.ts";
import type { Backup } from "../../../node/backup/take-backup.ts";
import { totalRows } from "../../../base/text/spans.ts";
import type { CliContext } from "../../context.ts";
import type { Options } from "../../options/options.ts";
import { FUNCTIONS_OPTION, LIBRARIES_OPTION } from "../../run-options.ts";
import {
  CONFIG_OPTION,
  dataDirOf,
  flag,
  JSON_OPTION,
  list,
  NODE_OPTIONS,
  text,
  type Verb,
} from "../../verb.ts";

function show({ at, position, rows, bytes, sha256, withoutRows }: Backup): string {
  const lines = [
    `${at}: the state at ${position}, ${Object.keys(rows).length} tables, ${totalRows(rows)} rows, ${bytes} bytes`,
    `sha256 ${sha256}, integrity ok; described in ${at}.json`,
  ];
  if (withoutRows.length > 0)
    lines.push(`without rows, since they do not replicate: ${withoutRows.join(", ")}`);
  return lines.join("\n");
}

async function run(options: Options, [to]: readonly string[], context: CliContext): Promise<number> {
  const [{ takeBackup }, { giveExtensions }] = await Promise.all([
    import("../../../node/backup/take-backup.ts"),
    import("../../../node/startup/give-extensions.ts"),
  ]);
  await giveExtensions({
    functions: text(options, "functions"),
    libraries: list(options, "load-extension") ?? [],
  });
  const backup = await takeBackup({
    ...{
      dataDir: dataDirOf(options),
      to: to!,
      base: backupBase(text(options, "db"), dataDirOf(options)),
      host: context.hostName,
    },
    now: Date.now(),
  });
  context.print(flag(options, "json") ? JSON.stringify(backup) : show(backup));
  return 0;
}

export const backupVerb: Verb = {
  name: "backup",
  summary: "Writes a clean copy of the database to a file, a folder or S3.",
  details: [
    "DEST: FILE, DIR, s3://BUCKET/KEY or s3://BUCKET/PREFIX/. The copy is the state",
    "at one position, with the whole schema; DEST.json describes it. FILE is not",
    "touched, and the node may run. S3 needs S3_ENDPOINT, S3_ACCESS_KEY_ID and",
    "S3_SECRET_ACCESS_KEY in the environment.",
  ],
  usage: "backup DEST --db FILE [options]",
  words: 1,
  options: [...NODE_OPTIONS, FUNCTIONS_OPTION, LIBRARIES_OPTION, JSON_OPTION, CONFIG_OPTION],
  example: "marmot backup /backups/ --db app.db",
  check: (_options, [to]) =>
    to === undefined || to === ""
      ? [
          {
            message: "backup should be followed by a file, a folder or s3://…",
            hint: "marmot backup copy.db --db app.db",
          },
        ]
      : [],
  run,
};
