/** `marmot verify`: compares the replicas of all nodes, and this node's file with its replica. */
import type { VerifyResult } from "../../operations/api.ts";
import { MAX_TIMEOUT_MS } from "../../base/duration.ts";
import { NodeClient } from "../client.ts";
import type { CliContext } from "../context.ts";
import type { Options } from "../options/options.ts";
import { table } from "../output/table.ts";
import { CONFIG_OPTION, dataDirOf, flag, JSON_OPTION, NODE_OPTIONS, number, type Verb } from "../verb.ts";

const DEFAULT_MS = 30_000;
/** Time to compare rows, which --timeout does not limit. */
const ROWS_MS = 3_600_000;

async function run(options: Options, _words: readonly string[], context: CliContext): Promise<number> {
  const timeout = number(options, "timeout") ?? DEFAULT_MS;
  const query = `deep=${flag(options, "deep")}&repair=${flag(options, "repair")}&timeout=${timeout}ms`;
  const client = new NodeClient(dataDirOf(options));
  const result = await client.request<VerifyResult>("POST", `/api/v1/verify?${query}`, timeout + ROWS_MS);
  if (flag(options, "json")) context.print(JSON.stringify(result));
  else {
    if (result.differences.length > 0)
      context.print(
        table(
          ["KIND", "NODE", "TABLE", "KEY", "DIFFERENCE"],
          result.differences.map((d) => [d.kind, d.node, d.table, d.key, d.detail]),
        ),
      );
    const where = `replicas of ${result.nodes.join(", ")} at ${result.positions.join(", ")}; ${result.rows} rows compared`;
    context.print(`${result.equal ? "equal" : "DIFFERENT"}: ${where}`);
  }
  if (result.missing.length > 0)
    context.say(`not compared, because of no answer: ${result.missing.join(", ")}`);
  return result.equal ? 0 : 1;
}

export const verifyVerb: Verb = {
  name: "verify",
  summary: "Compares the replicas of all nodes, and FILE with its replica.",
  details: ["At one position of the log. Exit code 1 on a difference."],
  usage: "verify --db FILE [options]",
  options: [
    ...NODE_OPTIONS,
    { name: "deep", type: "flag", help: "row by row instead of by checksums" },
    { name: "repair", type: "flag", help: "make FILE equal to its replica again" },
    {
      name: "timeout",
      type: "duration",
      value: "TIME",
      help: "limit for the other nodes (30s)",
      maximum: MAX_TIMEOUT_MS,
      example: "30s",
    },
    JSON_OPTION,
    CONFIG_OPTION,
  ],
  example: "marmot verify --db app.db --deep",
  run,
};
