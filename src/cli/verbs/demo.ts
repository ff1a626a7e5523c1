/** `marmot demo`: three nodes on this machine with a sample database, and a tour. */
import type { NodeStatus } from "../../operations/api.ts";
import type { CliContext } from "../context.ts";
import type { Options } from "../options/options.ts";
import { CONFIG_OPTION, flag, type Verb } from "../verb.ts";

async function run(options: Options, _words: readonly string[], context: CliContext): Promise<number> {
  const interrupted = context.interrupted().then(() => null);
  // Loaded only here, because the tour contains the sample database.
  const [{ DemoCluster }, { tour }] = await Promise.all([
    import("../demo/cluster.ts"),
    import("../demo/tour.ts"),
  ]);
  const cluster = new DemoCluster(context);
  try {
    const finished = tour(cluster, context);
    const equal = await Promise.race([finished, interrupted]);
    if (equal === null) {
      finished.catch(() => {}); // it fails when its nodes stop
      return 1;
    }
    if (flag(options, "once")) return equal ? 0 : 1;
    const [first, second, third] = cluster.nodes;
    const { cluster: about } = await cluster.client(first!).request<NodeStatus>("GET", "/api/v1/status");
    const pages = cluster.nodes.map((n) => `http://127.0.0.1:${n.admin}/`);
    context.print(
      [
        "",
        `cluster ${about.id} keeps running; its dashboards:`,
        `  ${pages.join("  ")}`,
        "try it:",
        `  sqlite3 ${second!.db} "UPDATE Artist SET Name = 'you' WHERE ArtistId = 1"`,
        `  sqlite3 ${third!.db} "SELECT Name FROM Artist WHERE ArtistId = 1"`,
        "Ctrl-C ends it and removes its files",
      ].join("\n"),
    );
    await interrupted;
    return equal ? 0 : 1;
  } finally {
    await cluster.stop();
  }
}

export const demoVerb: Verb = {
  name: "demo",
  summary: "Three nodes on this machine with a sample database: a tour.",
  details: [
    "Writes on all, kills and restarts one, restores a row that lost, migrates, and",
    "compares all files. Ctrl-C removes its files.",
  ],
  usage: "demo [--once]",
  options: [
    { name: "once", type: "flag", help: "only the tour; exit code 0 when all files are equal" },
    CONFIG_OPTION,
  ],
  example: "marmot demo --once",
  run,
};
