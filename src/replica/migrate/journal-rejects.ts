/** Rows that a change of the schema leaves no room for, in the replica or in the file of the node that made it: into the journal. */
import type { DatabaseSync } from "node:sqlite";
import { foldName } from "../../base/names.ts";
import { encodeImage } from "../../change/codec.ts";
import { type KeyId, keyIdOf, keyIdOfImage } from "../../change/key.ts";
import type { TableShape } from "../../change/shape.ts";
import type { Value } from "../../change/value.ts";
import type { RejectedRow } from "../../schema/diff/change.ts";
import type { RejectsOfTable } from "../../schema/diff/schema-entry.ts";
import type { ChangesetContext, LastWrite } from "../apply/row-applier.ts";
import { UNKNOWN } from "./row-metadata.ts";
import type { SchemaChangeComponents } from "./schema-change.ts";

/** A row that a constraint left no room for. */
export interface RejectedKey {
  /** The table's id before the change. */
  readonly table: number;
  readonly key: readonly Value[];
}

/** Rows of the origin that nobody has, and that nobody will have. */
export function noteLost(
  { table, columns, reason, rows }: RejectsOfTable,
  context: ChangesetContext,
  { journal }: SchemaChangeComponents,
): void {
  rows.forEach((row, i) =>
    journal.add({
      shard: context.shard,
      index: context.index,
      table: 0,
      keyId: i,
      kind: "schema clash",
      losingOrigin: context.origin,
      losingPosition: null,
      losingImage: new Uint8Array(Buffer.from(row, "base64")),
      winningOrigin: 0,
      winningImage: null,
      time: context.time,
      note: { table, columns, reason },
    }),
  );
}

/**
 * What the origin knew when it changed the schema. Its file obeys the new constraints: of rows that it had seen, and that a
 * constraint leaves no room for, its application has removed or changed one itself, and nothing is lost.
 */
export class SeenRows {
  readonly #db: DatabaseSync;
  readonly #context: ChangesetContext;
  readonly #last: SchemaChangeComponents["last"];
  readonly #tables = new Map<number, boolean>();

  constructor(db: DatabaseSync, context: ChangesetContext, last: SchemaChangeComponents["last"]) {
    this.#db = db;
    this.#context = context;
    this.#last = last;
  }

  #has({ shard, index, origin }: LastWrite): boolean {
    return origin === this.#context.origin || index <= (this.#context.bases[0]?.[shard] ?? 0);
  }

  row(shape: TableShape, keyId: KeyId): boolean {
    const last = this.#last(shape.id, keyId);
    return last === null || this.#has(last);
  }

  /** Everything that was ever written to the table. */
  table(shape: TableShape): boolean {
    let seen = this.#tables.get(shape.id);
    if (seen === undefined) {
      const newest = this.#db.prepare(
        `SELECT "shard", max("idx") AS "index", "origin" FROM "__marmot__key" WHERE "tbl" = ? GROUP BY "shard", "origin"`,
      );
      seen = (newest.all(shape.id) as unknown as LastWrite[]).every((last) => this.#has(last));
      this.#tables.set(shape.id, seen);
    }
    return seen;
  }

  /** Nothing that the origin does not know took part in it. */
  isItsOwnDoing(shape: TableShape, keyId: KeyId, { gaveWayTo }: RejectedRow): boolean {
    if (this.#context.bases.length === 0) return false;
    if (gaveWayTo === "unknown") return this.table(shape);
    return this.row(shape, keyId) && (gaveWayTo === null || this.row(shape, keyIdOf(shape, gaveWayTo)));
  }
}

/** `shape`: the table before the change. */
export function rejectedImage(shape: TableShape, { columns, values, rowid }: RejectedRow): Value[] {
  const value = new Map(columns.map((c, i) => [foldName(c), values[i]!]));
  return shape.columns.map((c, i) =>
    shape.rowidKey && i === 0 ? rowid : (value.get(foldName(c.name)) ?? null),
  );
}

/** A row that the new schema has no room for: evicted by whoever changed the schema. */
export function noteRejected(
  db: DatabaseSync,
  shape: TableShape,
  row: RejectedRow,
  context: ChangesetContext,
  { last, journal, references, changed }: SchemaChangeComponents,
  seen: SeenRows,
): RejectedKey {
  const image = rejectedImage(shape, row);
  const keyId = keyIdOfImage(shape, image);
  const lost = last(shape.id, keyId);
  const bytes = encodeImage(image);
  if (!seen.isItsOwnDoing(shape, keyId, row))
    journal.add({
      shard: context.shard,
      index: context.index,
      table: shape.id,
      keyId,
      kind: "unique clash",
      losingOrigin: lost?.origin ?? 0,
      losingPosition: lost,
      losingImage: bytes,
      winningOrigin: context.origin,
      winningImage: null,
      time: context.time,
    });
  db.prepare(`INSERT OR REPLACE INTO "__marmot__key" VALUES(?, ?, ?, ?, ?)`).run(
    shape.id,
    keyId,
    context.shard,
    context.index,
    context.origin,
  );
  // What the origin's file says of the row, that it stays or that it is gone, leads it everywhere: it is sent in any case.
  references.add(shape.id, keyId, context.shard, context.index, context.own ? UNKNOWN : bytes);
  const key = shape.key.map((k) => image[k]!);
  changed.set(shape.id, keyId, { key, image: null });
  return { table: shape.id, key };
}
