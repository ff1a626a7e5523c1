/** Everything that the app database stores about its replication: positions, acknowledged log ids and withheld rows. */
import type { DatabaseSync } from "node:sqlite";
import { BasePositions } from "../change/base-positions.ts";
import { decodeImage } from "../change/codec.ts";
import { keyIdOf } from "../change/key.ts";
import type { TableShape } from "../change/shape.ts";
import { WithheldRows } from "../change/withheld-rows.ts";
import { readAcknowledged } from "../rows/change-logs.ts";
import { decodePosition } from "../schema/app-db-tables.ts";

export interface StoredState {
  readonly bases: BasePositions;
  readonly withheld: WithheldRows;
  /** Table id ⇒ acknowledged log id. */
  readonly acknowledged: ReadonlyMap<number, number>;
}

/** Withheld rows are read of the tables in `shapes` only. */
export function readStoredState(
  db: DatabaseSync,
  shapes: readonly TableShape[],
  shards: number,
): StoredState {
  const positions = db
    .prepare(`SELECT "name", "value" FROM "__marmot__status" WHERE "item" = 'shard'`)
    .all() as { name: string; value: number }[];
  const reflected = Array.from({ length: shards }, (_, shard) =>
    Number(positions.find((r) => r.name === String(shard))?.value ?? 0),
  );
  const records = db.prepare(`SELECT "id", "next_id", "position" FROM "__marmot__base"`).all() as {
    id: number;
    next_id: number;
    position: Uint8Array;
  }[];
  return {
    bases: new BasePositions(
      reflected,
      records.map((r) => ({ table: r.id, nextId: r.next_id, position: decodePosition(r.position) })),
    ),
    withheld: readWithheld(db, shapes),
    acknowledged: readAcknowledged(db),
  };
}

function readWithheld(db: DatabaseSync, shapes: readonly TableShape[]): WithheldRows {
  const withheld = new WithheldRows();
  const shapeOf = new Map(shapes.map((s) => [s.id, s]));
  for (const row of db.prepare(`SELECT "id", "key", "position" FROM "__marmot__shadow"`).all() as {
    id: number;
    key: Uint8Array;
    position: Uint8Array;
  }[]) {
    const shape = shapeOf.get(row.id);
    if (shape === undefined) continue;
    const key = decodeImage(row.key);
    withheld.set(row.id, keyIdOf(shape, key), { key, position: decodePosition(row.position) });
  }
  return withheld;
}
