/** Reads an app database while the node is stopped: the position that it reflects, and the keys in its change logs. */
import type { DatabaseSync } from "node:sqlite";
import { keyIdOf } from "../../change/key.ts";
import type { TableShape } from "../../change/shape.ts";
import { exactKey, exactKeyColumns, prepareExact } from "../../rows/row-access.ts";
import { queryOf } from "../../sqlite/query.ts";
import { quoteIdentifier } from "../../sqlite/quote.ts";
import { integer, readRows, text } from "../../sqlite/typed-rows.ts";

/** Values of one item of the status table, by name. */
function readStatus(file: DatabaseSync, item: "acknowledged" | "shard"): Map<string, number> {
  const rows = file.prepare(`SELECT "name", "value" FROM "__marmot__status" WHERE "item" = ?`).all(item);
  return new Map(readRows(rows, { name: text, value: integer }).map(({ name, value }) => [name, value]));
}

/** The position that the app database reflects; 0 for a shard without one. */
export function reflectedPosition(file: DatabaseSync, shards: number): number[] {
  const positions = readStatus(file, "shard");
  return Array.from({ length: shards }, (_, shard) => positions.get(String(shard)) ?? 0);
}

/** Table name ⇒ change-log id up to which its rows are acknowledged. */
export const acknowledgedIds = (file: DatabaseSync): Map<string, number> => readStatus(file, "acknowledged");

/** "table/key" of the log rows of each table with from < id ≤ to. */
export function loggedKeys(
  file: DatabaseSync,
  shapes: readonly TableShape[],
  {
    from,
    to = () => Number.MAX_SAFE_INTEGER,
  }: { readonly from: (table: TableShape) => number; readonly to?: (table: TableShape) => number },
): Set<string> {
  const keys = new Set<string>();
  const encoding = String(queryOf(file)("PRAGMA encoding")[0]![0]);
  const logs = readRows(file.prepare(`SELECT "id", "log" FROM "__marmot__table"`).all(), {
    id: integer,
    log: text,
  });
  for (const shape of shapes) {
    const log = logs.find((l) => l.id === shape.id)?.log;
    if (log === undefined) continue;
    const columns = exactKeyColumns(
      shape,
      shape.key.map((_, i) => `k${i + 1}`),
    );
    const rows = prepareExact(
      file,
      `SELECT ${columns} FROM ${quoteIdentifier(log)} WHERE id > ? AND id <= ?`,
    );
    for (const row of rows.iterate(from(shape), to(shape)))
      keys.add(`${shape.id}/${keyIdOf(shape, exactKey(shape, row, encoding))}`);
  }
  return keys;
}
