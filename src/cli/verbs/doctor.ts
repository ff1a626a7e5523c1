/** `marmot doctor`: whether the tables of a database can replicate. Needs no cluster. */
import type { CliContext } from "../context.ts";
import type { Options } from "../options/options.ts";
import { FUNCTIONS_OPTION, LIBRARIES_OPTION } from "../run-options.ts";
import { table } from "../output/table.ts";
import { CONFIG_OPTION, DB_OPTION, flag, JSON_OPTION, list, text, type Verb } from "../verb.ts";

async function run(options: Options, _words: readonly string[], context: CliContext): Promise<number> {
  const db = text(options, "db")!;
  const { giveExtensions } = await import("../../node/startup/give-extensions.ts");
  await giveExtensions({
    functions: text(options, "functions"),
    libraries: list(options, "load-extension") ?? [],
  });
  const { grouped, inspectDatabase } = await import("../../node/offline/doctor.ts");
  const found = inspectDatabase(db, {
    tables: list(options, "tables"),
    exclude: list(options, "exclude") ?? [],
  });
  if (flag(options, "json")) {
    context.print(JSON.stringify(found));
    return found.replicates ? 0 : 1;
  }
  const rows = grouped(found.tables, found.followers);
  context.print(
    table(
      ["TABLE", "VERDICT", "REASON"],
      rows.map((t) => [t.name, t.verdict, t.reason]),
    ),
  );
  const hints = rows.filter((t) => t.hint !== "");
  if (hints.length > 0) context.print(`\n${hints.map((t) => `${t.name}: ${t.hint}`).join("\n")}`);
  const notes = [
    `text encoding ${found.encoding}, journal mode ${found.journalMode}${found.journalMode === "wal" ? "" : " (run switches it to WAL)"}`,
  ];
  if (found.capturedBy !== null)
    notes.push(`captured by node ${found.capturedBy.peerId} of cluster ${found.capturedBy.clusterId}`);
  for (const { message, hint } of found.warnings) notes.push(`warning: ${message}\nhint: ${hint}`);
  context.print(
    `\n${notes.join("\n")}\n${found.replicates ? "marmot run would replicate it" : "marmot run would refuse it"}`,
  );
  return found.replicates ? 0 : 1;
}

export const doctorVerb: Verb = {
  name: "doctor",
  summary: "Shows which tables replicate, need care or are refused.",
  details: [
    "With reason and hint. Needs no cluster and changes nothing.",
    "Exit code 1 when marmot run would refuse the file.",
  ],
  usage: "doctor --db FILE [options]",
  options: [
    DB_OPTION,
    { name: "tables", type: "list", value: "A,B", help: "check only these", example: "a,b" },
    { name: "exclude", type: "list", value: "C", help: "leave these out", example: "c" },
    FUNCTIONS_OPTION,
    LIBRARIES_OPTION,
    JSON_OPTION,
    CONFIG_OPTION,
  ],
  example: "marmot doctor --db app.db",
  run,
};
