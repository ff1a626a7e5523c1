/**
 * One changeset's rows into the replica, as a set: old images out, new ones in; a UNIQUE clash that is left is with a
 * row outside of the changeset, which gives way. Deterministic but for what it notes for this node alone (references,
 * changed rows).
 */
import type { DatabaseSync, StatementSync } from "node:sqlite";
import { Op, type PositionVector, type RowChange } from "../../change/batch.ts";
import type { ChangedRows } from "../../change/changed-rows.ts";
import { encodeImage, imageHash } from "../../change/codec.ts";
import { type KeyId, keyIdOf } from "../../change/key.ts";
import { type PerTable, settingOf } from "../../change/per-table.ts";
import type { TableShape } from "../../change/shape.ts";
import { type Image, imageEqual, type Value, valueEqual } from "../../change/value.ts";
import type { RowAccess } from "../../rows/row-access.ts";
import type { Checksums } from "./checksums.ts";
import type { RowidCollisions } from "./rowid-collisions.ts";
import { ColumnWrites } from "./column-positions.ts";
import type { Journal } from "../conflicts/journal.ts";
import { ColumnMerger, type MergedRow } from "./column-merge.ts";
import type { References } from "./before-images.ts";
import type { MergeMode, ReplicaSettings } from "../store/settings.ts";

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

export interface LastWrite {
  readonly shard: number;
  readonly index: number;
  readonly origin: number;
}

/** Rows handled between two yields. */
const SLICE = 500;

/** Is told of every row that a changeset wrote or evicted. */
export interface WriteObserver {
  wrote(
    shape: TableShape,
    keyId: KeyId,
    old: Image | null,
    image: Image | null,
    /** By an insert, which may have replaced another row of the key. */
    anew: boolean,
    last: LastWrite | null,
    base: PositionVector | undefined,
    context: ChangesetContext,
  ): void;
}

export class RowApplier {
  observer: WriteObserver | null = null;
  readonly #journal: Journal;
  readonly #references: References;
  readonly #checksums: Checksums;
  readonly #changed: ChangedRows;
  readonly #shardOfKey: (table: number, keyId: KeyId) => number;
  readonly #selectKey: StatementSync;
  readonly #upsertKey: StatementSync;
  readonly #columns: ColumnWrites;
  readonly #merge: PerTable<MergeMode>;
  readonly #births: RowidCollisions;
  readonly #mergers = new Map<TableShape, ColumnMerger | null>();

  constructor(
    db: DatabaseSync,
    components: {
      journal: Journal;
      references: References;
      checksums: Checksums;
      changed: ChangedRows;
      births: RowidCollisions;
      settings: Pick<ReplicaSettings, "merge">;
      shardOfKey: (table: number, keyId: KeyId) => number;
    },
  ) {
    this.#merge = components.settings.merge;
    this.#births = components.births;
    this.#columns = new ColumnWrites(db);
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
  *apply(access: RowAccess, sent: readonly RowChange[], context: ChangesetContext): Generator<void, void> {
    const merger = this.#mergerOf(access.shape);
    const rows = access.shape.rowidKey ? this.#births.place(access, sent, context) : sent;
    if (access.hasUniques) {
      yield* this.#applyWithUniques(access, rows, merger, context);
      return;
    }
    for (let i = 0; i < rows.length; i++) {
      const row = rows[i]!;
      const before = access.get(row.key);
      const merged = this.#evaluable(
        access,
        row,
        merger?.merge(row, before) ?? { image: row.image, columns: null },
        context,
      );
      this.#write(access, row, merged, before, true, context);
      if (i % SLICE === SLICE - 1) yield;
    }
  }

  /** null: the later row stands whole. */
  #mergerOf(shape: TableShape): ColumnMerger | null {
    let merger = this.#mergers.get(shape);
    if (merger === undefined) {
      merger = settingOf(this.#merge, shape.name) === "column" ? new ColumnMerger(shape) : null;
      this.#mergers.set(shape, merger);
    }
    return merger;
  }

  /** First all rows that go or move a UNIQUE value leave; then the new images come. */
  *#applyWithUniques(
    access: RowAccess,
    rows: readonly RowChange[],
    merger: ColumnMerger | null,
    context: ChangesetContext,
  ): Generator<void, void> {
    const old: (Image | null)[] = [];
    for (let i = 0; i < rows.length; i++) {
      old.push(access.get(rows[i]!.key));
      if (i % SLICE === SLICE - 1) yield;
    }
    const sent =
      merger?.mergeSet(rows, old) ?? rows.map((row): MergedRow => ({ image: row.image, columns: null }));
    const merged = sent.map((row, i) => this.#evaluable(access, rows[i]!, row, context));
    for (let i = 0; i < rows.length; i++) {
      const [before, { image }] = [old[i]!, merged[i]!];
      if (before !== null && (image === null || access.uniqueChanges(before, image)))
        access.delete(rows[i]!.key);
      if (i % SLICE === SLICE - 1) yield;
    }
    for (let i = 0; i < rows.length; i++) {
      const { image } = merged[i]!;
      if (image !== null)
        for (const key of access.clashes(image)) this.#evict(access, key, rows[i]!, image, context);
      this.#write(access, rows[i]!, merged[i]!, old[i]!, false, context);
      if (i % SLICE === SLICE - 1) yield;
    }
  }

  /**
   * The row as it was sent where SQLite cannot evaluate an expression of the table for the merged one; no row where it cannot
   * for either. That one is in the journal.
   */
  #evaluable(access: RowAccess, row: RowChange, merged: MergedRow, context: ChangesetContext): MergedRow {
    if (merged.image === null || row.image === null || access.evaluates(merged.image)) return merged;
    if (merged.columns !== null && access.evaluates(row.image)) return { image: row.image, columns: null };
    this.#journal.add({
      ...{ shard: context.shard, index: context.index, table: access.shape.id, keyId: row.keyId },
      kind: "concurrent write",
      losingOrigin: context.origin,
      losingPosition: null,
      losingImage: encodeImage(row.image),
      winningOrigin: 0,
      winningImage: null,
      time: context.time,
    });
    return { image: null, columns: null };
  }

  /** `merged`: what goes in for `row`. */
  #write(
    access: RowAccess,
    row: RowChange,
    { image, columns }: MergedRow,
    old: Image | null,
    present: boolean,
    context: ChangesetContext,
  ): void {
    const table = access.shape.id;
    const last = this.last(table, row.keyId);
    const oldBytes = old === null ? null : encodeImage(old);
    const newBytes = image === null ? null : encodeImage(image);
    // A rowid that SQLite picked says nothing of the row that had it before.
    const fresh = access.shape.rowidKey && row.op === Op.insert;
    const lost = fresh
      ? null
      : columns === null || old === null || image === null
        ? this.#covered(access.shape, row, last, context)
        : this.#overwritten(table, row, columns, old, image, last, context);
    if (lost !== null && (oldBytes !== null || newBytes !== null))
      this.#journal.add({
        shard: context.shard,
        index: context.index,
        table,
        keyId: row.keyId,
        kind: row.op === Op.insert && old !== null ? "same key" : "concurrent write",
        losingOrigin: lost.origin,
        losingPosition: lost,
        losingImage: oldBytes,
        winningOrigin: context.origin,
        winningImage: newBytes,
        time: context.time,
      });
    if (image !== null) access.upsert(image);
    else if (old !== null && present) access.delete(row.key);
    if (this.#mergerOf(access.shape) !== null) {
      if (columns === null) this.#columns.forget(table, row.keyId);
      else this.#columns.note(table, row.keyId, columns, context, last);
    }
    this.#upsertKey.run(table, row.keyId, context.shard, context.index, context.origin);
    const home = this.#home(table, row.keyId, context);
    if (oldBytes !== null) this.#checksums.subtract(table, home, imageHash(oldBytes));
    if (newBytes !== null) this.#checksums.add(table, home, imageHash(newBytes));
    const anew = row.op === Op.insert;
    this.observer?.wrote(access.shape, row.keyId, old, image, anew, last, context.bases[row.base], context);
    const asSent =
      image === row.image || (image !== null && row.image !== null && imageEqual(image, row.image));
    if (!context.own) {
      this.#references.add(table, row.keyId, context.shard, context.index, oldBytes);
      this.#changed.set(table, row.keyId, { key: row.key, image });
      return;
    }
    this.#references.forget(table, row.keyId);
    if (asSent) this.#changed.delete(table, row.keyId);
    else {
      // The file shows what was sent, and must be led to what stands.
      const sent = row.image === null ? null : encodeImage(row.image);
      this.#references.add(table, row.keyId, context.shard, context.index, sent);
      this.#changed.set(table, row.keyId, { key: row.key, image });
    }
  }

  /**
   * The unseen write of others that a row which goes, or comes whole, puts an end to; null: there is none. Where columns
   * are merged, those of others may stand beneath the row's last write.
   */
  #covered(
    shape: TableShape,
    row: RowChange,
    last: LastWrite | null,
    context: ChangesetContext,
  ): LastWrite | null {
    if (this.#mergerOf(shape) === null) return this.#unseen(last, row, context);
    const writes = this.#columns.of(shape.id, row.keyId, last);
    const unseen = shape.columns.flatMap((_, column) => this.#unseen(writes(column), row, context) ?? []);
    return unseen.reduce<LastWrite | null>((a, b) => (a === null || b.index > a.index ? b : a), null);
  }

  /** The unseen write of others of which a column is overwritten with another value; null: there is none. */
  #overwritten(
    table: number,
    row: RowChange,
    columns: readonly number[],
    old: Image,
    image: Image,
    last: LastWrite | null,
    context: ChangesetContext,
  ): LastWrite | null {
    const writes = this.#columns.of(table, row.keyId, last);
    for (const column of columns) {
      if (valueEqual(old[column]!, image[column]!)) continue;
      const unseen = this.#unseen(writes(column), row, context);
      if (unseen !== null) return unseen;
    }
    return null;
  }

  /** The last write, if it is somebody else's and at a position that this row's writer had not seen; else null. */
  #unseen(last: LastWrite | null, row: RowChange, context: ChangesetContext): LastWrite | null {
    if (last === null || last.origin === context.origin) return null;
    return last.index > (context.bases[row.base]?.[last.shard] ?? 0) ? last : null;
  }

  /** The shard that the row is counted in: where it is routed, also when an entry of shard 0 writes it. */
  #home(table: number, keyId: KeyId, context: ChangesetContext): number {
    return context.shard === 0 ? this.#shardOfKey(table, keyId) : context.shard;
  }

  /** Where a key was last written, and by whom; null: not since the replica's beginning. */
  last(table: number, keyId: KeyId): LastWrite | null {
    const row = this.#selectKey.get(table, keyId) as unknown as [number, number, number] | undefined;
    return row === undefined ? null : { shard: row[0], index: row[1], origin: row[2] };
  }

  /** A row outside of the changeset holds a UNIQUE value that the changeset claims: the later in the order wins. */
  #evict(
    access: RowAccess,
    key: readonly Value[],
    row: RowChange,
    winner: Image,
    context: ChangesetContext,
  ): void {
    const image = access.get(key);
    if (image === null) return; // it clashed in two indexes and is gone already
    const table = access.shape.id;
    const keyId = keyIdOf(access.shape, key);
    const bytes = encodeImage(image);
    const last = this.last(table, keyId);
    this.#journal.add({
      shard: context.shard,
      index: context.index,
      table,
      keyId,
      kind: "unique clash",
      losingOrigin: last?.origin ?? 0,
      losingPosition: last,
      losingImage: bytes,
      winningOrigin: context.origin,
      winningImage: encodeImage(winner),
      time: context.time,
    });
    access.delete(key);
    if (this.#mergerOf(access.shape) !== null) this.#columns.forget(table, keyId);
    this.#checksums.subtract(table, this.#home(table, keyId, context), imageHash(bytes));
    this.#upsertKey.run(table, keyId, context.shard, context.index, context.origin);
    this.#references.add(table, keyId, context.shard, context.index, bytes);
    this.#changed.set(table, keyId, { key, image: null });
    this.observer?.wrote(access.shape, keyId, image, null, false, last, context.bases[row.base], context);
  }

  /**
   * The order itself writes a row, as the consequence of a changeset. `origin`: whose it counts as. Returns the image as
   * the table holds it.
   */
  force(
    access: RowAccess,
    keyId: KeyId,
    key: readonly Value[],
    image: Image | null,
    origin: number,
    context: ChangesetContext,
  ): Image | null {
    const table = access.shape.id;
    const old = access.get(key);
    if (image === null) access.delete(key);
    else access.upsert(image);
    const stands = image === null ? null : access.get(key);
    if (this.#mergerOf(access.shape) !== null) this.#columns.forget(table, keyId);
    this.#upsertKey.run(table, keyId, context.shard, context.index, origin);
    const oldBytes = old === null ? null : encodeImage(old);
    const home = this.#home(table, keyId, context);
    if (oldBytes !== null) this.#checksums.subtract(table, home, imageHash(oldBytes));
    if (stands !== null) this.#checksums.add(table, home, imageHash(encodeImage(stands)));
    // Also of an own changeset: the file shows what was sent.
    this.#references.add(table, keyId, context.shard, context.index, oldBytes);
    this.#changed.set(table, keyId, { key, image: stands });
    return stands;
  }
}
