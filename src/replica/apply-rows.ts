/**
 * One changeset's rows into the replica, as a set: old images out, new ones in; a UNIQUE clash that is left is with a
 * row outside of the changeset, which gives way. Deterministic but for what it notes for this node alone (references,
 * changed rows).
 */
import type { DatabaseSync, StatementSync } from "node:sqlite";
import type { PositionVector, RowChange } from "../change/batch.ts";
import type { ChangedRows } from "../change/changed-rows.ts";
import { encodeImage, imageHash } from "../change/codec.ts";
import { type KeyId, keyIdOf } from "../change/key.ts";
import type { Image, Value } from "../change/value.ts";
import type { RowAccess } from "../schema/row-access.ts";
import type { Checksums } from "./checksums.ts";
import type { Journal } from "./journal.ts";
import type { References } from "./references.ts";

/** Where in the order a changeset stands and whose it is. */
export interface ChangesetContext {
  readonly shard: number;
  readonly index: number;
  /** `peerHash` of the origin. */
  readonly origin: number;
  /** The origin is this node: its file shows these images or newer ones. */
  readonly own: boolean;
  readonly bases: readonly PositionVector[];
  readonly time: number;
}

interface LastWrite {
  readonly shard: number;
  readonly index: number;
  readonly origin: number;
}

/** Rows handled between two yields. */
const SLICE = 500;

export class RowApplier {
  readonly #journal: Journal;
  readonly #references: References;
  readonly #checksums: Checksums;
  readonly #changed: ChangedRows;
  readonly #shardOfKey: (table: number, keyId: KeyId) => number;
  readonly #selectKey: StatementSync;
  readonly #upsertKey: StatementSync;

  constructor(
    db: DatabaseSync,
    components: {
      journal: Journal;
      references: References;
      checksums: Checksums;
      changed: ChangedRows;
      shardOfKey: (table: number, keyId: KeyId) => number;
    },
  ) {
    this.#journal = components.journal;
    this.#references = components.references;
    this.#checksums = components.checksums;
    this.#changed = components.changed;
    this.#shardOfKey = (table, keyId) => components.shardOfKey(table, keyId);
    this.#selectKey = db.prepare(
      `SELECT "shard", "idx", "origin" FROM "__marmot__key" WHERE "tbl" = ? AND "key" = ?`,
    );
    this.#selectKey.setReturnArrays(true);
    this.#upsertKey = db.prepare(
      `INSERT INTO "__marmot__key" VALUES(?, ?, ?, ?, ?) ON CONFLICT("tbl", "key")
         DO UPDATE SET "shard" = excluded."shard", "idx" = excluded."idx", "origin" = excluded."origin"`,
    );
  }

  /** Applies a table's rows; yields now and then so that the caller can let others run, the transaction staying open. */
  *apply(access: RowAccess, rows: readonly RowChange[], context: ChangesetContext): Generator<void, void> {
    if (access.hasUniques) {
      yield* this.#applyWithUniques(access, rows, context);
      return;
    }
    for (let i = 0; i < rows.length; i++) {
      const row = rows[i]!;
      this.#write(access, row, access.get(row.key), true, context);
      if (i % SLICE === SLICE - 1) yield;
    }
  }

  /** First all rows that go or move a UNIQUE value leave; then the new images come. */
  *#applyWithUniques(
    access: RowAccess,
    rows: readonly RowChange[],
    context: ChangesetContext,
  ): Generator<void, void> {
    const old: (Image | null)[] = [];
    for (let i = 0; i < rows.length; i++) {
      const row = rows[i]!;
      const before = access.get(row.key);
      old.push(before);
      if (before !== null && (row.image === null || access.uniqueChanges(before, row.image)))
        access.delete(row.key);
      if (i % SLICE === SLICE - 1) yield;
    }
    for (let i = 0; i < rows.length; i++) {
      const row = rows[i]!;
      if (row.image !== null)
        for (const key of access.clashes(row.image)) this.#evict(access, key, row.image, context);
      this.#write(access, row, old[i]!, false, context);
      if (i % SLICE === SLICE - 1) yield;
    }
  }

  #write(
    access: RowAccess,
    row: RowChange,
    old: Image | null,
    present: boolean,
    context: ChangesetContext,
  ): void {
    const table = access.shape.id;
    const last = this.#last(table, row.keyId);
    const oldBytes = old === null ? null : encodeImage(old);
    const newBytes = row.image === null ? null : encodeImage(row.image);
    if (last !== null && this.#unseen(last, row, context) && (oldBytes !== null || newBytes !== null))
      this.#journal.add({
        shard: context.shard,
        index: context.index,
        table,
        keyId: row.keyId,
        kind: "concurrent write",
        losingOrigin: last.origin,
        losingImage: oldBytes,
        winningOrigin: context.origin,
        winningImage: newBytes,
        time: context.time,
      });
    if (row.image !== null) access.upsert(row.image);
    else if (old !== null && present) access.delete(row.key);
    this.#upsertKey.run(table, row.keyId, context.shard, context.index, context.origin);
    const home = this.#home(table, row.keyId, context);
    if (oldBytes !== null) this.#checksums.subtract(table, home, imageHash(oldBytes));
    if (newBytes !== null) this.#checksums.add(table, home, imageHash(newBytes));
    if (context.own) {
      this.#references.forget(table, row.keyId);
      this.#changed.delete(table, row.keyId);
    } else {
      this.#references.add(table, row.keyId, context.shard, context.index, oldBytes);
      this.#changed.set(table, row.keyId, { key: row.key, image: row.image });
    }
  }

  /** The key was last written by somebody else, at a position that this row's writer had not seen. */
  #unseen(last: LastWrite, row: RowChange, context: ChangesetContext): boolean {
    return last.origin !== context.origin && last.index > (context.bases[row.base]?.[last.shard] ?? 0);
  }

  /** The shard that the row is counted in: where it is routed, also when an entry of shard 0 writes it. */
  #home(table: number, keyId: KeyId, context: ChangesetContext): number {
    return context.shard === 0 ? this.#shardOfKey(table, keyId) : context.shard;
  }

  #last(table: number, keyId: KeyId): LastWrite | null {
    const row = this.#selectKey.get(table, keyId) as unknown as [number, number, number] | undefined;
    return row === undefined ? null : { shard: row[0], index: row[1], origin: row[2] };
  }

  /** A row outside of the changeset holds a UNIQUE value that the changeset claims: the later in the order wins. */
  #evict(access: RowAccess, key: readonly Value[], winner: Image, context: ChangesetContext): void {
    const image = access.get(key);
    if (image === null) return; // it clashed in two indexes and is gone already
    const table = access.shape.id;
    const keyId = keyIdOf(access.shape, key);
    const bytes = encodeImage(image);
    this.#journal.add({
      shard: context.shard,
      index: context.index,
      table,
      keyId,
      kind: "unique clash",
      losingOrigin: this.#last(table, keyId)?.origin ?? 0,
      losingImage: bytes,
      winningOrigin: context.origin,
      winningImage: encodeImage(winner),
      time: context.time,
    });
    access.delete(key);
    this.#checksums.subtract(table, this.#home(table, keyId, context), imageHash(bytes));
    this.#upsertKey.run(table, keyId, context.shard, context.index, context.origin);
    this.#references.add(table, keyId, context.shard, context.index, bytes);
    this.#changed.set(table, keyId, { key, image: null });
  }
}
