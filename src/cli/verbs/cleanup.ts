/** `marmot cleanup`: removes Marmot's triggers and tables from the application's file. */
import { marmotCommand } from "../../base/text/commands.ts";
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

async function run(options: Options, _words: readonly string[], context: CliContext): Promise<number> {
  const db = text(options, "db")!;
  const { cleanupDatabase } = await import("../../node/offline/cleanup.ts");
  const dataDir = dataDirOf(options);
  const result = cleanupDatabase(db, dataDir, flag(options, "also-others"));
  if (flag(options, "json")) context.print(JSON.stringify(result));
  else {
    context.print(`removed ${result.triggers} triggers and ${result.tables} tables of Marmot from ${db}`);
    const { others, left } = result;
    if (others.triggers + others.tables > 0)
      context.print(
        `removed ${others.triggers} triggers and ${others.tables} tables that older replicators had left`,
      );
    if (left.length > 0)
      context.say(
        `${left.length} triggers and tables of HarmonyLite are still there; to remove them: ${marmotCommand("cleanup", { db, folder: dataDir })} --also-others`,
      );
    context.say(`the node's own files are still in ${dataDir}; remove them for a fresh start`);
  }
  return 0;
}

export const cleanupVerb: Verb = {
  name: "cleanup",
  summary: "Removes every trigger and table of Marmot from FILE.",
  details: [
    "Its schema is then byte for byte as before. The node must be stopped.",
    "Changes that were not yet sent stay in FILE only.",
    "Those that maxpert/marmot 0.3 to 0.8 left in FILE go, too.",
  ],
  usage: "cleanup --db FILE [options]",
  options: [
    DB_OPTION,
    DATA_DIR_OPTION,
    { name: "also-others", type: "flag", help: "those that HarmonyLite left, too" },
    JSON_OPTION,
    CONFIG_OPTION,
  ],
  example: "marmot cleanup --db app.db",
  run,
};
