/**
 * Applies the rows of one changeset to the replica as a set: old images are removed before new ones are written. A UNIQUE
 * clash that remains is with a row outside of the changeset, which is evicted. Deterministic, except for the notes for
 * this node alone (before images, changed rows).
 */
import type { DatabaseSync } from "node:sqlite";
import { Op, type PositionVector, type RowChange } from "../../change/batch.ts";
import type { ChangedRows } from "../../change/changed-rows.ts";
import { encodeImage } from "../../change/codec.ts";
import { type KeyId, keyIdOf } from "../../change/key.ts";
import type { TableShape } from "../../change/shape.ts";
import { type Image, imageEqual, Slices, type Value } from "../../change/value.ts";
import type { RowAccess } from "../../rows/row-access.ts";
import type { Journal } from "../conflicts/journal.ts";
import type { HistoryWriter } from "../history/history-writer.ts";
import type { ReplicaSettings } from "../store/settings.ts";
import type { BeforeImages } from "./before-images.ts";
import { type ChangesetContext, isInAppDb, RESOLVER_ORIGIN, type WriteObserver } from "./changeset.ts";
import type { Checksums } from "./checksums.ts";
import type { MergedRow } from "./column-merge.ts";
import type { KeyPositions } from "./key-positions.ts";
import { areDistinct, RowSets } from "./row-sets.ts";
import type { RowidCollisions } from "./rowid-collisions.ts";
import { type RowWrite, TableMerge } from "./table-merge.ts";

/** Rows handled between two yields. */
const SLICE = 500;

interface RowApplierComponents {
  readonly journal: Journal;
  readonly beforeImages: BeforeImages;
  readonly checksums: Checksums;
  readonly changed: ChangedRows;
  readonly keyPositions: KeyPositions;
  readonly rowidCollisions: RowidCollisions;
  /** Records the rows; null: nothing does. */
  readonly history: () => HistoryWriter | null;
  readonly settings: Pick<ReplicaSettings, "merge" | "shards">;
  readonly shardOfKey: (table: number, keyId: KeyId) => number;
}

/** The row that evicts another one, and its writer's base position. */
interface Evictor {
  readonly image: Image;
  readonly base: PositionVector | undefined;
}

const asSent = (row: RowChange): MergedRow => ({ image: row.image, columns: null });

const encoded = (image: Image | null): Uint8Array | null => (image === null ? null : encodeImage(image));

export class RowApplier {
  /** Is told of every row that a changeset wrote or evicted. */
  observer: WriteObserver | null = null;
  readonly #components: RowApplierComponents;
  readonly #merge: TableMerge;
  readonly #sets: RowSets;

  constructor(db: DatabaseSync, components: RowApplierComponents) {
    this.#components = components;
    this.#merge = new TableMerge(db, components.settings.merge);
    this.#sets = new RowSets(components);
  }

  /** Applies a table's rows. Yields between slices so that other work can run; the transaction stays open. */
  *apply(access: RowAccess, sent: readonly RowChange[], context: ChangesetContext): Generator<void, void> {
    const { rowidCollisions } = this.#components;
    const rows = access.shape.rowidKey ? rowidCollisions.place(access, sent, context) : sent;
    if (this.isSet(access, rows)) {
      const observer = this.observer?.concerns(access.shape) === true ? this.observer : null;
      const writeOne = (row: RowChange, before: Image | null): void =>
        this.#writeUnique(access, { row, merged: asSent(row), before }, context);
      yield* this.#sets.apply({ access, rows, context, observer, writeOne });
      return;
    }
    if (access.hasUniques) {
      yield* this.#applyWithUniques(access, rows, context);
      return;
    }
    const merger = this.#merge.mergerOf(access.shape);
    const slices = new Slices(SLICE);
    for (const row of rows) {
      const before = access.get(row.key);
      const merged = this.#evaluable(access, row, merger?.merge(row, before) ?? asSent(row), context);
      if (merged.image === null && before !== null) access.delete(row.key);
      this.#write(access, { row, merged, before }, context);
      if (slices.ends(row.image)) yield;
    }
  }

  /** No row of the table depends on the rows that the changeset wrote before it. */
  isSet(access: RowAccess, rows: readonly RowChange[]): boolean {
    const { shape } = access;
    if (this.#merge.mergerOf(shape) !== null || access.canFail) return false;
    if (this.observer?.refersToItself(shape) === true) return false;
    return !access.hasUniques || areDistinct(rows);
  }

  /** First removes all rows that are deleted or change a UNIQUE value, then writes the new images. */
  *#applyWithUniques(
    access: RowAccess,
    rows: readonly RowChange[],
    context: ChangesetContext,
  ): Generator<void, void> {
    const old: (Image | null)[] = [];
    const slices = new Slices(SLICE);
    for (const { key } of rows) {
      const image = access.get(key);
      old.push(image);
      if (slices.ends(image)) yield;
    }
    const sets = this.#merge.mergerOf(access.shape)?.mergeSet(rows, old) ?? rows.map(asSent);
    const merged = sets.map((row, i) => this.#evaluable(access, rows[i]!, row, context));
    for (let i = 0; i < rows.length; i++) {
      const [before, { image }] = [old[i]!, merged[i]!];
      if (before !== null && (image === null || access.uniqueChanges(before, image)))
        access.delete(rows[i]!.key);
      if (slices.ends(before)) yield;
    }
    for (let i = 0; i < rows.length; i++) {
      this.#writeUnique(access, { row: rows[i]!, merged: merged[i]!, before: old[i]! }, context);
      if (slices.ends(merged[i]!.image)) yield;
    }
  }

  /** Writes one row. The rows that have its UNIQUE values are evicted. */
  #writeUnique(access: RowAccess, write: RowWrite, context: ChangesetContext): void {
    const { image } = write.merged;
    if (image !== null) {
      const evictor = { image, base: context.bases[write.row.base] };
      for (const key of access.clashes(image)) this.#evict(access, key, evictor, context);
    }
    this.#write(access, write, context);
  }

  /**
   * The row as it was sent where SQLite cannot evaluate an expression of the table for the merged one; no row where it cannot
   * for either. That one is in the journal.
   */
  #evaluable(access: RowAccess, row: RowChange, merged: MergedRow, context: ChangesetContext): MergedRow {
    if (merged.image === null || row.image === null || access.evaluates(merged.image)) return merged;
    if (merged.columns !== null && access.evaluates(row.image)) return asSent(row);
    this.#components.journal.add(context, {
      ...{ table: access.shape.id, keyId: row.keyId, kind: "concurrent write" },
      losingOrigin: context.origin,
      losingPosition: null,
      losingImage: encodeImage(row.image),
      winningOrigin: 0,
      winningImage: null,
    });
    return { image: null, columns: null };
  }

  /** Writes one row and all that is kept about it. If the change deletes the row, the caller has removed it. */
  #write(access: RowAccess, write: RowWrite, context: ChangesetContext): void {
    const { keyPositions, checksums } = this.#components;
    const { shape } = access;
    const { row, before } = write;
    const { image, columns } = write.merged;
    const last = keyPositions.last(shape.id, row.keyId);
    const bytes = { before: encoded(before), after: encoded(image) };
    // SQLite assigned the rowid: such an insert has nothing to do with an earlier row of the same rowid.
    const isNewRow = shape.rowidKey && row.op === Op.insert;
    const lost = isNewRow ? null : this.#merge.lostWrite(shape, write, last, context);
    if (lost !== null && (bytes.before !== null || bytes.after !== null))
      this.#components.journal.add(context, {
        table: shape.id,
        keyId: row.keyId,
        kind: row.op === Op.insert && before !== null ? "same key" : "concurrent write",
        losingOrigin: lost.origin,
        losingPosition: lost,
        losingImage: bytes.before,
        winningOrigin: context.origin,
        winningImage: bytes.after,
      });
    if (image !== null) access.upsert(image);
    this.#merge.note(shape, row.keyId, columns, { write: context, last });
    keyPositions.set(shape.id, row.keyId, context);
    checksums.replace(shape.id, this.#home(shape.id, row.keyId, context), bytes.before, bytes.after);
    this.#components.history()?.row(shape.id, bytes.before, bytes.after, image);
    this.observer?.wrote({
      shape,
      keyId: row.keyId,
      before,
      after: image,
      isInsert: row.op === Op.insert,
      last,
      base: context.bases[row.base],
      context,
    });
    this.#noteForAppDb(shape, write, bytes.before, context);
  }

  /** Notes for this node whether its app database has the row, and the image that it has instead. */
  #noteForAppDb(
    shape: TableShape,
    { row, merged: { image } }: RowWrite,
    beforeBytes: Uint8Array | null,
    context: ChangesetContext,
  ): void {
    const { beforeImages, changed } = this.#components;
    const table = shape.id;
    if (!context.own) {
      beforeImages.add(table, row.keyId, context, beforeBytes);
      changed.set(table, row.keyId, { key: row.key, image });
      return;
    }
    beforeImages.forget(table, row.keyId);
    const isAsSent =
      image === row.image || (image !== null && row.image !== null && imageEqual(image, row.image));
    if (isAsSent && isInAppDb(context, shape)) {
      changed.delete(table, row.keyId);
      return;
    }
    // The app database has the image that was sent, and must get the merged one.
    if (!isAsSent) beforeImages.add(table, row.keyId, context, encoded(row.image));
    changed.set(table, row.keyId, { key: row.key, image });
  }

  /** The shard whose checksum counts the row: its route, even if an entry of shard 0 writes it. */
  #home(table: number, keyId: KeyId, context: ChangesetContext): number {
    return context.shard === 0 ? this.#components.shardOfKey(table, keyId) : context.shard;
  }

  /** A row outside of the changeset has a UNIQUE value that the changeset claims: the later changeset wins. */
  #evict(
    access: RowAccess,
    key: readonly Value[],
    { image, base }: Evictor,
    context: ChangesetContext,
  ): void {
    const before = access.get(key);
    if (before === null) return; // it clashed in two indexes and is evicted already
    const { keyPositions, journal, checksums, beforeImages, changed } = this.#components;
    const { shape } = access;
    const keyId = keyIdOf(shape, key);
    const bytes = encodeImage(before);
    const last = keyPositions.last(shape.id, keyId);
    journal.addUniqueClash(context, {
      table: shape.id,
      keyId,
      last,
      image: bytes,
      winningImage: encodeImage(image),
    });
    access.delete(key);
    this.#merge.forget(shape, keyId);
    checksums.replace(shape.id, this.#home(shape.id, keyId, context), bytes, null);
    this.#components.history()?.row(shape.id, bytes, null);
    keyPositions.set(shape.id, keyId, context);
    beforeImages.add(shape.id, keyId, context, bytes);
    changed.set(shape.id, keyId, { key, image: null });
    this.observer?.wrote({ shape, keyId, before, after: null, isInsert: false, last, base, context });
  }

  /**
   * The reference resolver writes a row, or deletes it (null), as a consequence of a changeset. Returns the image as the
   * table has it.
   */
  force(
    access: RowAccess,
    key: readonly Value[],
    image: Image | null,
    context: ChangesetContext,
  ): Image | null {
    const { keyPositions, checksums, beforeImages, changed } = this.#components;
    const { shape } = access;
    const keyId = keyIdOf(shape, key);
    const before = encoded(access.get(key));
    if (image === null) access.delete(key);
    else access.upsert(image);
    const after = image === null ? null : access.get(key);
    this.#merge.forget(shape, keyId);
    keyPositions.set(shape.id, keyId, { ...context, origin: RESOLVER_ORIGIN });
    const bytes = encoded(after);
    checksums.replace(shape.id, this.#home(shape.id, keyId, context), before, bytes);
    this.#components.history()?.row(shape.id, before, bytes);
    // Also for an own changeset: the app database has the image that was sent.
    beforeImages.add(shape.id, keyId, context, before);
    changed.set(shape.id, keyId, { key, image: after });
    return after;
  }
}
