/** What the application's file says of itself when a node starts: what it reflects, from where log rows are pending. */
import type { DatabaseSync } from "node:sqlite";
import type { CapturedTable } from "../capture/install.ts";
import { BasePositions } from "../change/base-positions.ts";
import { decodeImage } from "../change/codec.ts";
import { keyIdOf } from "../change/key.ts";
import { WithheldRows } from "../change/withheld-rows.ts";
import type { TableShape } from "../change/shape.ts";
import { decodePosition } from "../schema/app-db-tables.ts";

export interface StoredState {
  readonly bases: BasePositions;
  readonly shadows: WithheldRows;
  /** Table id ⇒ acknowledged log id. */
  readonly acknowledged: ReadonlyMap<number, number>;
}

/** Of tables that are not among `shapes` nothing is read. */
export function readStoredState(
  db: DatabaseSync,
  shapes: readonly TableShape[],
  captured: readonly CapturedTable[],
  shards: number,
): StoredState {
  const status = db.prepare(`SELECT "item", "name", "value" FROM "__marmot__status"`).all() as {
    item: string;
    name: string;
    value: number;
  }[];
  const reflected = Array.from({ length: shards }, (_, shard) =>
    Number(status.find((r) => r.item === "shard" && r.name === String(shard))?.value ?? 0),
  );
  const records = db.prepare(`SELECT "id", "next_id", "position" FROM "__marmot__base"`).all() as {
    id: number;
    next_id: number;
    position: Uint8Array;
  }[];
  const shadows = new WithheldRows();
  const shapeOf = new Map(shapes.map((s) => [s.id, s]));
  for (const row of db.prepare(`SELECT "id", "key", "position" FROM "__marmot__shadow"`).all() as {
    id: number;
    key: Uint8Array;
    position: Uint8Array;
  }[]) {
    const shape = shapeOf.get(row.id);
    if (shape === undefined) continue;
    const key = decodeImage(row.key);
    shadows.set(row.id, keyIdOf(shape, key), { key, position: decodePosition(row.position) });
  }
  const ids = new Map(captured.map((c) => [c.name, c.id]));
  return {
    bases: new BasePositions(
      reflected,
      records.map((r) => ({ table: r.id, nextId: r.next_id, position: decodePosition(r.position) })),
    ),
    shadows,
    acknowledged: new Map(
      status.flatMap((r) =>
        r.item === "acknowledged" && ids.has(r.name) ? [[ids.get(r.name)!, Number(r.value)] as const] : [],
      ),
    ),
  };
}
