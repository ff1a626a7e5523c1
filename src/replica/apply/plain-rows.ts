/**
 * Applies the rows of tables that only their key constrains: no UNIQUE index, no foreign key, no merge by column, no
 * expression that may fail, and a declared key. No row depends on another one, so a slice of them is written with a statement per kind of record.
 */
import { Op, type RowChange } from "../../change/batch.ts";
import type { ChangedRows } from "../../change/changed-rows.ts";
import { encodeImage, hashOfImage, imageHash } from "../../change/codec.ts";
import type { KeyId } from "../../change/key.ts";
import { type Image, Slices } from "../../change/value.ts";
import type { RowAccess } from "../../rows/row-access.ts";
import type { Journal } from "../conflicts/journal.ts";
import type { ReplicaSettings } from "../store/settings.ts";
import type { BeforeImages } from "./before-images.ts";
import { type ChangesetContext, unseenWrite } from "./changeset.ts";
import type { Checksums } from "./checksums.ts";
import type { KeyPositions } from "./key-positions.ts";

/** Rows handled between two yields. */
const SLICE = 500;
/** From this many rows on, the highest keys are looked up: rows above them are new. */
const LOOK_FOR_HIGHEST = 16;

interface PlainRowsComponents {
  readonly journal: Journal;
  readonly beforeImages: BeforeImages;
  readonly checksums: Checksums;
  readonly changed: ChangedRows;
  readonly keyPositions: KeyPositions;
  readonly settings: Pick<ReplicaSettings, "shards">;
  readonly shardOfKey: (table: number, keyId: KeyId) => number;
}

/** Records of one slice that are written together. */
interface Slice {
  readonly access: RowAccess;
  readonly context: ChangesetContext;
  readonly images: Image[];
  readonly keyIds: KeyId[];
  /** Rows of another node that were not there before. */
  readonly absent: KeyId[];
  /** The change of the checksum that counts all rows. */
  sum: bigint;
}

export class PlainRows {
  readonly #components: PlainRowsComponents;

  constructor(components: PlainRowsComponents) {
    this.#components = components;
  }

  /** Yields between slices; the transaction stays open. */
  *apply(access: RowAccess, rows: readonly RowChange[], context: ChangesetContext): Generator<void, void> {
    let highest = this.#highest(access, rows.length);
    for (let from = 0; from < rows.length;) {
      const to = distinctUpTo(rows, from, Math.min(rows.length, from + SLICE));
      const slice: Slice = { access, context, images: [], keyIds: [], absent: [], sum: 0n };
      for (let i = from; i < to; i++) this.#take(slice, rows[i]!, highest);
      this.#flush(slice);
      for (const keyId of slice.keyIds) if (typeof keyId === "number" && keyId > highest) highest = keyId;
      from = to;
      if (from < rows.length) yield;
    }
  }

  /** A row with a number above this as its key was never in the table. */
  #highest(access: RowAccess, rows: number): number {
    const { shape } = access;
    if (!shape.integerKey || rows < LOOK_FOR_HIGHEST) return Number.POSITIVE_INFINITY;
    return Math.max(access.highest(), this.#components.keyPositions.highest(shape.id));
  }

  #take(slice: Slice, row: RowChange, highest: number): void {
    const { access, images, keyIds } = slice;
    const { keyId, image } = row;
    const isNew = typeof keyId === "number" && keyId > highest;
    const before = isNew ? null : access.get(row.key);
    const bytes = before === null ? null : encodeImage(before);
    if (!isNew) this.#noteLost(slice, row, bytes);
    keyIds.push(keyId);
    if (image !== null) images.push(image);
    else if (before !== null) access.delete(row.key);
    this.#count(
      slice,
      keyId,
      (image === null ? 0n : hashOfImage(image)) - (bytes === null ? 0n : imageHash(bytes)),
    );
    this.#noteForAppDb(slice, row, bytes);
  }

  /** Adds a write of another origin to the journal that the row overwrites and its writer had not seen. */
  #noteLost({ access: { shape }, context }: Slice, row: RowChange, before: Uint8Array | null): void {
    const { keyId, image, op } = row;
    const last = this.#components.keyPositions.last(shape.id, keyId);
    const lost = unseenWrite(last, context.bases[row.base], context);
    if (lost === null || (before === null && image === null)) return;
    this.#components.journal.add(context, {
      table: shape.id,
      keyId,
      kind: op === Op.insert && before !== null ? "same key" : "concurrent write",
      losingOrigin: lost.origin,
      losingPosition: lost,
      losingImage: before,
      winningOrigin: context.origin,
      winningImage: image === null ? null : encodeImage(image),
    });
  }

  /** A changeset in a shard of its own has all its rows there; one in shard 0 may have rows of all shards. */
  #count(slice: Slice, keyId: KeyId, change: bigint): void {
    const { checksums, settings, shardOfKey } = this.#components;
    const { access, context } = slice;
    if (context.shard !== 0 || settings.shards === 1) slice.sum += change;
    else if (change !== 0n) checksums.add(access.shape.id, shardOfKey(access.shape.id, keyId), change);
  }

  /** Notes for this node whether its app database has the row, and the image that it has instead. */
  #noteForAppDb(slice: Slice, row: RowChange, before: Uint8Array | null): void {
    const { beforeImages, changed } = this.#components;
    const { context } = slice;
    const table = slice.access.shape.id;
    if (context.own) {
      beforeImages.forget(table, row.keyId);
      changed.delete(table, row.keyId);
      return;
    }
    if (before === null) slice.absent.push(row.keyId);
    else beforeImages.add(table, row.keyId, context, before);
    changed.set(table, row.keyId, { key: row.key, image: row.image });
  }

  #flush({ access, context, images, keyIds, absent, sum }: Slice): void {
    const { beforeImages, checksums, keyPositions } = this.#components;
    const table = access.shape.id;
    access.upsertMany(images);
    keyPositions.setMany(table, keyIds, context);
    beforeImages.addAbsent(table, absent, context);
    if (sum !== 0n) checksums.add(table, context.shard, sum);
  }
}

/** The end of the rows from `from` to `to` in which no key comes twice, and that are one slice. */
function distinctUpTo(rows: readonly RowChange[], from: number, to: number): number {
  const seen = new Set<KeyId>();
  const slices = new Slices(SLICE);
  for (let i = from; i < to; i++) {
    const { keyId, image } = rows[i]!;
    if (seen.has(keyId)) return i;
    seen.add(keyId);
    if (slices.ends(image)) return i + 1;
  }
  return to;
}
