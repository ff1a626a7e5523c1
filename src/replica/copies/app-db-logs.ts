/** Reads an app database while the node is stopped: the position that it reflects, and the keys in its change logs. */
import type { DatabaseSync } from "node:sqlite";
import type { TableShape } from "../../change/shape.ts";
import { ChangeLogReader, selectsOf } from "../../rows/change-log-reader.ts";
import { readChangeLogs } from "../../rows/change-logs.ts";
import { queryOf } from "../../sqlite/query.ts";
import { integer, readRows, text } from "../../sqlite/typed-rows.ts";

/** The position that the app database reflects; 0 for a shard without one. */
export function reflectedPosition(file: DatabaseSync, shards: number): number[] {
  const rows = file.prepare(`SELECT "name", "value" FROM "__marmot__status" WHERE "item" = 'shard'`).all();
  const positions = new Map(readRows(rows, { name: text, value: integer }).map((r) => [r.name, r.value]));
  return Array.from({ length: shards }, (_, shard) => positions.get(String(shard)) ?? 0);
}

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
  const logs = new Map(readChangeLogs(file).map(({ id, log }) => [id, log]));
  for (const shape of shapes) {
    const log = logs.get(shape.id);
    if (log === undefined) continue;
    const reader = new ChangeLogReader(selectsOf(file), { shape, log, encoding });
    for (const [, keyId] of reader.keyIds(from(shape), to(shape))) keys.add(`${shape.id}/${keyId}`);
  }
  return keys;
}
