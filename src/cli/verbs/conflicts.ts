/** `marmot conflicts`: what concurrent writes lost. */
import type { ConflictDetail, ConflictSummary, ShownValue } from "../../node/api.ts";
import { dataDirOf, NodeClient } from "../client.ts";
import type { CliContext } from "../context.ts";
import { type Options, usage } from "../options.ts";
import { table } from "../table.ts";
import { CONFIG_OPTION, DATA_DIR_OPTION, DB_OPTION, flag, JSON_OPTION, number, type Verb } from "../verb.ts";

const time = (ms: number): string => new Date(ms).toISOString();

const value = (v: ShownValue | undefined): string => {
  if (v === undefined || v.type === "null") return "NULL";
  if (v.type === "blob") return `x'${v.text}'`;
  return v.type === "text" ? JSON.stringify(v.text) : v.text;
};

function showDetail(c: ConflictDetail): string {
  const image = (i: readonly ShownValue[] | null, n: number): string =>
    i === null ? "(deleted)" : value(i[n]);
  const rows = c.columns.map((name, n) => [name, image(c.losingImage, n), image(c.winningImage, n)]);
  return [
    `conflict ${c.id}: ${c.kind} in ${c.table}, key ${c.key}, ${time(c.time)}`,
    `lost: ${c.losingOrigin}    stands: ${c.winningOrigin}`,
    "",
    table(["COLUMN", "LOST", "STANDS"], rows),
  ].join("\n");
}

async function run(options: Options, words: readonly string[], context: CliContext): Promise<number> {
  const [what, id] = words;
  const client = new NodeClient(dataDirOf(options));
  if (what === "show" && id !== undefined) {
    const conflict = await client.request<ConflictDetail>(
      "GET",
      `/api/v1/conflicts/${encodeURIComponent(id)}`,
    );
    context.print(flag(options, "json") ? JSON.stringify(conflict) : showDetail(conflict));
    return 0;
  }
  if (what !== "list") throw usage(["conflicts takes list, or show ID"]);
  const found = await client.request<ConflictSummary[]>(
    "GET",
    `/api/v1/conflicts?limit=${number(options, "limit") ?? 100}`,
  );
  if (flag(options, "json")) context.print(JSON.stringify(found));
  else {
    const rows = found.map((c) => [
      c.id,
      time(c.time),
      c.table,
      c.key,
      c.kind,
      c.losingOrigin,
      c.winningOrigin,
    ]);
    context.print(
      found.length === 0
        ? "no conflicts"
        : table(["ID", "TIME", "TABLE", "KEY", "KIND", "LOST", "STANDS"], rows),
    );
  }
  return 0;
}

export const conflictsVerb: Verb = {
  name: "conflicts",
  summary: "Lists what concurrent writes lost, newest first, or shows one with both images.",
  usage: "conflicts list|show ID --db FILE [options]",
  words: 2,
  options: [
    DB_OPTION,
    DATA_DIR_OPTION,
    { name: "limit", type: "number", value: "N", help: "newest N (100)", minimum: 1, maximum: 10_000 },
    JSON_OPTION,
    CONFIG_OPTION,
  ],
  example: "marmot conflicts show 0:1234:0 --db app.db",
  run,
};
