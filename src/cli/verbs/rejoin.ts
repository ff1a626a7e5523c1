/** `marmot rejoin`: lets a halted node join its cluster again as a new member. */
import { systemClock } from "../../base/clock.ts";
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
  const { setAside } = await import("../../node/offline/rejoin.ts");
  const stamp = new Date(systemClock.wallTime()).toISOString().replace(/[-:]|\.\d+/g, "");
  const result = setAside(db, dataDirOf(options), stamp);
  if (flag(options, "json")) {
    context.print(JSON.stringify(result));
    return 0;
  }
  if (result.file !== null) context.print(`the old file is ${result.file}`);
  context.print(`replica and log are in ${result.folder}`);
  for (const { table, rows, keys } of result.unsent)
    context.print(
      `not sent to other nodes: ${rows} rows of ${table}, with the keys ${keys.join("; ")}${rows > keys.length ? " …" : ""}`,
    );
  if (result.saved !== null)
    context.print(
      `these rows are in ${result.saved}; later: ATTACH '${result.saved}' AS unsent; INSERT OR REPLACE INTO TABLE SELECT * FROM unsent.TABLE`,
    );
  context.say(`next: ${result.next} receives the cluster's data as a new member`);
  return 0;
}

export const rejoinVerb: Verb = {
  name: "rejoin",
  summary: "Sets a halted node's state aside; it joins again as a new member.",
  details: [
    "For the states went-back, log-lost and removed. The node must be stopped.",
    "FILE is kept as FILE.before-TIME, and its unsent rows are in FILE.unsent-TIME.",
  ],
  usage: "rejoin --db FILE [options]",
  options: [DB_OPTION, DATA_DIR_OPTION, JSON_OPTION, CONFIG_OPTION],
  example: "marmot rejoin --db app.db",
  run,
};
