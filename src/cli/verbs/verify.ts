/** `marmot verify`: compares the replicas of all nodes, and the file of each with its replica. */
import { locatorOf } from "../output/status-text.ts";
import type { VerifyResult } from "../../operations/api.ts";
import { MAX_TIMEOUT_MS } from "../../base/duration.ts";
import { NodeClient } from "../client.ts";
import type { CliContext } from "../context.ts";
import type { Options } from "../options/options.ts";
import { table } from "../output/table.ts";
import {
  CONFIG_OPTION,
  dataDirOf,
  flag,
  JSON_OPTION,
  NODE_OPTIONS,
  number,
  text,
  type Verb,
} from "../verb.ts";

const DEFAULT_MS = 30_000;
/** Time to compare rows, which --timeout does not limit. */
const ROWS_MS = 3_600_000;

async function run(options: Options, words: readonly string[], context: CliContext): Promise<number> {
  const timeout = number(options, "timeout") ?? DEFAULT_MS;
  const query = new URLSearchParams({
    ...{ deep: String(flag(options, "deep")), repair: String(flag(options, "repair")) },
    ...{ publish: String(flag(options, "publish")), timeout: `${timeout}ms` },
    ...(words[0] === undefined ? {} : { table: words[0] }),
  });
  const client = new NodeClient(dataDirOf(options));
  const result = await client.request<VerifyResult>(
    "POST",
    `/api/v1/verify?${query}`,
    Math.min(timeout, MAX_TIMEOUT_MS) + ROWS_MS,
  );
  if (flag(options, "json")) context.print(JSON.stringify(result));
  else context.print(report(result).join("\n"));
  for (const { node, reason } of result.notCompared) context.say(`not compared: ${node} (${reason})`);
  if (!flag(options, "json")) for (const line of hints(result, options)) context.say(line);
  return result.equal && result.complete ? 0 : 1;
}

function report(result: VerifyResult): string[] {
  const lines: string[] = [];
  if (result.differences.length > 0)
    lines.push(
      table(
        ["KIND", "NODE", "TABLE", "KEY", "DIFFERENCE"],
        result.differences.map((d) => [d.kind, d.node, d.table, d.key, d.detail]),
      ),
    );
  const where = `replicas of ${result.nodes.join(", ")} at ${result.positions.join(", ")}; ${result.rows} rows compared`;
  const verdict = result.equal
    ? result.complete
      ? "equal"
      : "equal, but NOT ALL VOTERS answered"
    : "DIFFERENT";
  lines.push(`${verdict}: ${where}`);
  if (result.published > 0) lines.push(`${result.published} rows published`);
  if (result.repaired > 0)
    lines.push(
      `${result.repaired} rows repaired; the discarded ones are in the conflict journal (marmot conflicts list)`,
    );
  return lines;
}

/** Commands for rows of files that no trigger saw. */
function hints({ differences, equal, nodes }: VerifyResult, options: Options): string[] {
  const ofFiles = differences.filter((d) => d.kind === "file");
  const files = new Set(ofFiles.flatMap((d) => (d.key === "" ? [] : [d.node])));
  const damaged = new Set(ofFiles.flatMap((d) => (d.key === "" ? [d.node] : [])));
  const repairs = [...damaged].map(
    (node) =>
      `hint: run REINDEX in the file of ${node}; if it is damaged still, stop ${node} and run marmot repair on its file`,
  );
  if (equal || flag(options, "repair") || flag(options, "publish")) return repairs;
  const here = locatorOf(text(options, "db"), text(options, "data-dir"));
  const choices = [...files].map((node) =>
    node === nodes[0]
      ? `hint: marmot verify ${here} --publish sends the rows of this file; marmot verify ${here} --repair takes the cluster's`
      : `hint: run marmot verify on ${node}: with --publish it sends the rows of its file, with --repair it takes the cluster's`,
  );
  return [...choices, ...repairs];
}

export const verifyVerb: Verb = {
  name: "verify",
  summary: "Compares the nodes' replicas, and each file with its replica.",
  details: ["Exit code 1 on a difference, and when a voter does not answer."],
  usage: "verify --db FILE [options] [TABLE]",
  words: 1,
  options: [
    ...NODE_OPTIONS,
    { name: "deep", type: "flag", help: "row by row instead of by checksums" },
    { name: "repair", type: "flag", help: "make FILE equal to its replica again" },
    { name: "publish", type: "flag", help: "send rows of FILE [of TABLE] that no trigger saw" },
    {
      name: "timeout",
      type: "duration",
      value: "TIME",
      help: "limit for the other nodes (30s)",
      example: "30s",
    },
    JSON_OPTION,
    CONFIG_OPTION,
  ],
  example: "marmot verify --db app.db --deep",
  check: (options, words) => [
    ...(flag(options, "repair") && flag(options, "publish")
      ? [
          {
            message: "--repair and --publish exclude each other",
            hint: "choose one: --publish keeps FILE's rows",
          },
        ]
      : []),
    ...(words.length > 0 && !flag(options, "publish")
      ? [
          {
            message: `the table ${words[0]} is named without --publish`,
            hint: "give --publish, or leave it out",
          },
        ]
      : []),
  ],
  run,
};
