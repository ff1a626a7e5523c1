/** `marmot diff`: the changes since a time or a position, a line each. */
import { UserError } from "../../../base/errors.ts";
import { NodeClient } from "../../client.ts";
import type { CliContext } from "../../context.ts";
import type { Options } from "../../options/options.ts";
import { CONFIG_OPTION, dataDirOf, flag, JSON_OPTION, NODE_OPTIONS, text, type Verb } from "../../verb.ts";
import { changesPath } from "./changes-verb.ts";
import { SINCE_OPTION } from "./since-option.ts";

type Cells = Readonly<Record<string, unknown>>;

interface Change {
  readonly table: string;
  readonly op: string;
  readonly key: Cells;
  readonly before: Cells | null;
  readonly after: Cells | null;
}

interface Event {
  readonly kind: string;
  readonly position?: string;
  readonly entry: string;
  readonly time: string;
  readonly origin: string;
  readonly peer: string;
  readonly reason?: string;
  readonly changes?: readonly Change[];
}

/** A change of one row. */
export interface DiffLine extends Change {
  readonly position: string;
  readonly entry: string;
  readonly time: string;
  readonly origin: string;
  readonly peer: string;
}

function value(cell: unknown): string {
  if (typeof cell !== "object" || cell === null) return JSON.stringify(cell);
  const [[kind, text]] = Object.entries(cell as Record<string, string>) as [[string, string]];
  return kind === "blob" ? `x'${text}'` : text;
}

const cells = (row: Cells): string =>
  Object.entries(row)
    .map(([name, cell]) => `${name} ${value(cell)}`)
    .join(", ");

/** Of an update only the columns that differ. */
function differences(before: Cells, after: Cells): string {
  const changed = Object.keys(after).filter(
    (name) => JSON.stringify(before[name]) !== JSON.stringify(after[name]),
  );
  return changed.map((name) => `${name} ${value(before[name])} => ${value(after[name])}`).join(", ");
}

function show(line: DiffLine): string {
  const { before, after, key, op, table } = line;
  const detail =
    before === null ? cells(after!) : after === null ? cells(before) : differences(before, after);
  return `${line.position || line.entry}  ${line.time}  ${line.origin}  ${op} ${table} (${cells(key)}): ${detail}`;
}

async function run(options: Options, _words: readonly string[], context: CliContext): Promise<number> {
  const client = new NodeClient(dataDirOf(options));
  const wanted = text(options, "table");
  const json = flag(options, "json");
  const all: DiffLine[] = [];
  const path = changesPath(options, false, wanted === null ? null : [wanted]);
  for await (const given of client.lines(path)) {
    const event = JSON.parse(given) as Event;
    if (event.kind === "end")
      throw new UserError(event.reason ?? "the history ended", "give the command again");
    if (event.kind !== "transaction") continue;
    const { position = "", entry, time, origin, peer, changes = [] } = event;
    for (const change of changes) {
      const line = { position, entry, time, origin, peer, ...change };
      if (json) all.push(line);
      else context.print(show(line));
    }
  }
  if (json) context.print(JSON.stringify(all));
  return 0;
}

export const diffVerb: Verb = {
  name: "diff",
  summary: "Lists the rows that changed since a time or a position.",
  details: ["Position, time, node, table, key, and the row before and after."],
  usage: "diff --since TIME --db FILE [options]",
  options: [
    ...NODE_OPTIONS,
    { ...SINCE_OPTION, required: true },
    { name: "table", type: "text", value: "T", help: "only of this table", example: "orders" },
    JSON_OPTION,
    CONFIG_OPTION,
  ],
  example: "marmot diff --since 10m --db app.db",
  run,
};
