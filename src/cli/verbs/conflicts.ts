/** `marmot conflicts`: lists, shows and restores rows that concurrent writes replaced. */
import type { ConflictDetail, ConflictSummary, RestoreResult, ShownValue } from "../../operations/api.ts";
import { NodeClient } from "../client.ts";
import type { CliContext } from "../context.ts";
import type { Options } from "../options/options.ts";
import type { Problem } from "../output/problem.ts";
import { table } from "../output/table.ts";
import { CONFIG_OPTION, dataDirOf, flag, JSON_OPTION, NODE_OPTIONS, number, type Verb } from "../verb.ts";

/** Longer than the node waits for the application's write lock. */
const RESTORE_MS = 30_000;

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
    `lost: ${c.losingOrigin}    won: ${c.winningOrigin}`,
    "",
    table(["COLUMN", "LOST", "WON"], rows),
  ].join("\n");
}

function showRestored(r: RestoreResult): string {
  const lines = [`conflict ${r.id}: ${r.done}, ${r.table} ${r.key}`];
  if (r.replaced !== null) {
    const image = r.columns.map((name, n) => `${name} ${value(r.replaced![n])}`).join(", ");
    lines.push(`${r.done === "deleted again" ? "deleted" : "overwrote"}: ${image}`);
  }
  for (const c of r.children)
    lines.push(
      c.done === "left"
        ? `left as it is: ${c.table} ${c.key}: ${c.reason}`
        : `${c.done} with it: ${c.table} ${c.key}${c.newKey === c.key ? "" : `, now ${c.newKey}`}`,
    );
  return lines.join("\n");
}

function check(options: Options, [action, id]: readonly string[]): readonly Problem[] {
  const misplaced = ["as-new", "overwrite"].filter((name) => flag(options, name) && action !== "restore");
  if (misplaced.length > 0)
    return [
      {
        message: `--${misplaced.join(" and --")} belongs to conflicts restore, not to ${action ?? "nothing"}`,
        hint: "marmot conflicts restore ID --as-new --db app.db",
      },
    ];
  if (action === "list" && id === undefined) return [];
  if ((action === "show" || action === "restore") && id !== undefined) return [];
  const given = [action, id].filter((w) => w !== undefined).join(" ");
  return [
    {
      message: `conflicts should be followed by list, show ID or restore ID, not by ${given || "nothing"}`,
      hint: "marmot conflicts list --db app.db shows the ids",
    },
  ];
}

async function run(options: Options, words: readonly string[], context: CliContext): Promise<number> {
  const [action, id] = words;
  const client = new NodeClient(dataDirOf(options));
  if (action === "show") {
    const conflict = await client.request<ConflictDetail>(
      "GET",
      `/api/v1/conflicts/${encodeURIComponent(id!)}`,
    );
    context.print(flag(options, "json") ? JSON.stringify(conflict) : showDetail(conflict));
    return 0;
  }
  if (action === "restore") {
    const query = `asNew=${flag(options, "as-new")}&overwrite=${flag(options, "overwrite")}`;
    const done = await client.request<RestoreResult>(
      "POST",
      `/api/v1/conflicts/${encodeURIComponent(id!)}/restore?${query}`,
      RESTORE_MS,
    );
    context.print(flag(options, "json") ? JSON.stringify(done) : showRestored(done));
    return 0;
  }
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
        : table(["ID", "TIME", "TABLE", "KEY", "KIND", "LOST", "WON"], rows),
    );
  }
  return 0;
}

export const conflictsVerb: Verb = {
  name: "conflicts",
  summary: "Lists rows that lost to a concurrent write; shows or restores one.",
  details: [
    "show prints both images of the row: the losing and the winning one.",
    "restore writes the losing image again, as an ordinary write on this node.",
  ],
  usage: "conflicts list|show ID|restore ID --db FILE [options]",
  words: 2,
  actions: ["list", "show", "restore"],
  options: [
    ...NODE_OPTIONS,
    {
      name: "limit",
      type: "number",
      value: "N",
      help: "list the newest N (100)",
      minimum: 1,
      maximum: 10_000,
    },
    { name: "as-new", type: "flag", help: "restore under a new id, with its children" },
    { name: "overwrite", type: "flag", help: "restore even if the row was written since" },
    JSON_OPTION,
    CONFIG_OPTION,
  ],
  example: "marmot conflicts show 0:1234:0 --db app.db",
  check,
  run,
};
