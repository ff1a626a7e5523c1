/**
 * Applies the rows of a table as sets: lookups, rows and records of a slice take one statement for many rows. Not for
 * tables that merge by column, refer to themselves or have an expression that may fail: there, a row depends on the rows
 * before it. A UNIQUE clash is found when SQLite refuses a set; the rows of that set are then written one by one.
 */
import { Op, type RowChange } from "../../change/batch.ts";
import type { ChangedRows } from "../../change/changed-rows.ts";
import { encodeImage, imageHash, withEncoded, withEncodedRow } from "../../change/codec.ts";
import type { KeyId } from "../../change/key.ts";
import { type Image, Slices } from "../../change/value.ts";
import { areNearRows } from "../../rows/near-rows.ts";
import type { RowAccess } from "../../rows/row-access.ts";
import type { Journal } from "../conflicts/journal.ts";
import type { HistoryWriter } from "../history/history-writer.ts";
import type { ReplicaSettings } from "../store/settings.ts";
import type { BeforeImages, KeyedImage } from "./before-images.ts";
import {
  type ChangesetContext,
  isInAppDb,
  type LastWrite,
  unseenWrite,
  type WriteObserver,
} from "./changeset.ts";
import type { Checksums } from "./checksums.ts";
import type { KeyPositions } from "./key-positions.ts";

/** Rows handled between two yields. */
const SLICE = 500;
/** From this many rows on, the highest keys are looked up: rows above them are new. */
const LOOK_FOR_HIGHEST = 16;
/** Of a changeset with more base positions, the last writes of its keys are read. */
const CHECKED_BASES = 8;

interface RowSetsComponents {
  readonly journal: Journal;
  readonly beforeImages: BeforeImages;
  readonly checksums: Checksums;
  readonly changed: ChangedRows;
  readonly keyPositions: KeyPositions;
  /** Records the rows; null: nothing does. */
  readonly history: () => HistoryWriter | null;
  readonly settings: Pick<ReplicaSettings, "shards">;
  readonly shardOfKey: (table: number, keyId: KeyId) => number;
}

/** The rows of one table in a changeset. */
export interface TableRows {
  readonly access: RowAccess;
  readonly rows: readonly RowChange[];
  readonly context: ChangesetContext;
  /** null: it is not told of this table's rows. */
  readonly observer: WriteObserver | null;
  /** Writes one row and evicts rows that have its UNIQUE values. */
  readonly writeOne: (row: RowChange, before: Image | null) => void;
}

/** A row of the changeset with the row that it replaces, and the last write of its key. */
interface FoundRow {
  readonly row: RowChange;
  readonly before: Image | null;
  readonly last: LastWrite | null;
}

export class RowSets {
  readonly #components: RowSetsComponents;

  constructor(components: RowSetsComponents) {
    this.#components = components;
  }

  /** Yields between slices; the transaction stays open. */
  *apply(table: TableRows): Generator<void, void> {
    if (table.access.hasUniques) {
      yield* this.#applyWithUniques(table);
      return;
    }
    const { access, rows } = table;
    let highest = this.#highest(table);
    for (let from = 0; from < rows.length;) {
      const to = distinctUpTo(rows, from, sliceEnd(rows, from));
      const found = this.#find(table, rows.slice(from, to), highest);
      for (const { row, before } of found) if (row.image === null && before !== null) access.delete(row.key);
      access.upsertMany(imagesOf(found));
      this.#note(table, found);
      for (const { row } of found)
        if (typeof row.keyId === "number" && row.keyId > highest) highest = row.keyId;
      from = to;
      if (from < rows.length) yield;
    }
  }

  /** First removes all rows that are deleted or change a UNIQUE value, then writes the new images. */
  *#applyWithUniques(table: TableRows): Generator<void, void> {
    const { access, rows } = table;
    const highest = this.#highest(table);
    const found: FoundRow[] = [];
    for (let from = 0; from < rows.length;) {
      const to = sliceEnd(rows, from);
      for (const row of this.#find(table, rows.slice(from, to), highest)) found.push(row);
      from = to;
      yield;
    }
    const slices = new Slices(SLICE);
    for (const { row, before } of found) {
      if (before !== null && (row.image === null || access.uniqueChanges(before, row.image)))
        access.delete(row.key);
      if (slices.ends(before)) yield;
    }
    for (let from = 0; from < found.length;) {
      const to = sliceEnd(rows, from);
      this.#writeWithUniques(table, found.slice(from, to));
      from = to;
      yield;
    }
  }

  #writeWithUniques(table: TableRows, found: readonly FoundRow[]): void {
    const { access } = table;
    const images = imagesOf(found);
    // Rows that lie apart are written one by one; see `areNearRows`.
    const size = areNearRows(access.shape, images) ? access.rowsAtOnce : 1;
    for (const set of setsOf(found, size))
      if (access.upsertUnlessClash(imagesOf(set))) this.#note(table, set);
      else for (const { row, before } of set) table.writeOne(row, before);
  }

  /** A row with a number above this as its key was never in the table. */
  #highest({ access, rows }: TableRows): number {
    const { shape } = access;
    if (!shape.integerKey || rows.length < LOOK_FOR_HIGHEST) return Number.POSITIVE_INFINITY;
    return Math.max(access.highest(), this.#components.keyPositions.highest(shape.id));
  }

  #find(table: TableRows, rows: readonly RowChange[], highest: number): FoundRow[] {
    const { access } = table;
    const isNew = ({ keyId }: RowChange): boolean => typeof keyId === "number" && keyId > highest;
    const known = rows.filter((row) => !isNew(row));
    if (known.length === 0) return rows.map((row) => ({ row, before: null, last: null }));
    const images = access.getMany(known.map((row) => row.key));
    const writes = this.#needsLastWrites(table) ? this.#lastWrites(access, known) : null;
    let next = 0;
    return rows.map((row) => {
      if (isNew(row)) return { row, before: null, last: null };
      const at = next++;
      return { row, before: images[at]!, last: writes?.[at] ?? null };
    });
  }

  /** False: no row of the changeset can conflict, and the observer does not ask for the last writes of keys. */
  #needsLastWrites({ context: { bases, origin }, observer }: TableRows): boolean {
    if (observer !== null || bases.length === 0 || bases.length > CHECKED_BASES) return true;
    return !bases.every((base) => this.#components.keyPositions.writers.isCoveredBy(base, origin));
  }

  #lastWrites({ shape }: RowAccess, rows: readonly RowChange[]): (LastWrite | null)[] {
    return this.#components.keyPositions.lastMany(
      shape.id,
      rows.map((row) => row.keyId),
    );
  }

  /** Records the written rows: journal, checksum, key positions, and the notes for this node's app database. */
  #note(table: TableRows, found: readonly FoundRow[]): void {
    const { access, context, observer } = table;
    const { shape } = access;
    const { beforeImages, checksums, keyPositions } = this.#components;
    const history = this.#components.history();
    const images: KeyedImage[] = [];
    const absent: KeyId[] = [];
    let sum = 0n;
    for (const { row, before, last } of found) {
      const { keyId, image } = row;
      const lost = this.#lostWrite(table, row, last);
      const isLost = lost !== null && (before !== null || image !== null);
      const bytes = before !== null && (isLost || !context.own) ? encodeImage(before) : null;
      const record =
        (before !== null || image !== null) && history?.beginRow(shape.id) === true ? history : null;
      const removed = bytes === null ? recorded(before, record) : recordedBytes(bytes, record);
      const change = recordedRow(row, record) - removed;
      if (isLost) this.#noteLost(table, { row, lost, bytes });
      // A changeset in a shard of its own has all its rows there; one in shard 0 may have rows of all shards.
      if (context.shard !== 0 || this.#components.settings.shards === 1) sum += change;
      else if (change !== 0n) checksums.add(shape.id, this.#components.shardOfKey(shape.id, keyId), change);
      this.#noteForAppDb(table, row);
      if (!context.own)
        if (bytes === null) absent.push(keyId);
        else images.push({ keyId, image: bytes });
      const isInsert = row.op === Op.insert;
      observer?.wrote({
        ...{ shape, keyId, before, after: image, isInsert, last },
        ...{ base: context.bases[row.base], context },
      });
    }
    keyPositions.setMany(
      shape.id,
      found.map(({ row }) => row.keyId),
      context,
    );
    beforeImages.addMany(shape.id, images, context);
    beforeImages.addAbsent(shape.id, absent, context);
    if (sum !== 0n) checksums.add(shape.id, context.shard, sum);
  }

  /** SQLite assigned the key of a table without one: such an insert has nothing to do with an earlier row of the key. */
  #lostWrite({ access, context }: TableRows, row: RowChange, last: LastWrite | null): LastWrite | null {
    if (access.shape.rowidKey && row.op === Op.insert) return null;
    return unseenWrite(last, context.bases[row.base], context);
  }

  /** Adds a write of another origin to the journal that the row overwrites and its writer had not seen. */
  #noteLost({ access, context }: TableRows, { row, lost, bytes }: LostRow): void {
    const { keyId, image, op } = row;
    this.#components.journal.add(context, {
      table: access.shape.id,
      keyId,
      kind: op === Op.insert && bytes !== null ? "same key" : "concurrent write",
      losingOrigin: lost.origin,
      losingPosition: lost,
      losingImage: bytes,
      winningOrigin: context.origin,
      winningImage: image === null ? null : encodeImage(image),
    });
  }

  /** Notes for this node whether its app database has the row. */
  #noteForAppDb({ access, context }: TableRows, { key, keyId, image }: RowChange): void {
    const { beforeImages, changed } = this.#components;
    const table = access.shape.id;
    if (context.own) beforeImages.forget(table, keyId);
    if (isInAppDb(context, access.shape)) changed.delete(table, keyId);
    else changed.set(table, keyId, { key, image });
  }
}

/** Records an encoded image, and returns its hash. */
function recordedBytes(encoded: Uint8Array, history: HistoryWriter | null, image?: Image): bigint {
  const hash = imageHash(encoded);
  history?.image(encoded, image);
  return hash;
}

/** The same for an image, which is encoded once. */
function recorded(image: Image | null, history: HistoryWriter | null): bigint {
  if (image !== null) return withEncoded(image, (encoded) => recordedBytes(encoded, history, image));
  history?.image(null);
  return 0n;
}

/** The same for the row's new image. */
function recordedRow(row: RowChange, history: HistoryWriter | null): bigint {
  const { image } = row;
  if (image !== null) return withEncodedRow(row, (encoded) => recordedBytes(encoded, history, image));
  history?.image(null);
  return 0n;
}

interface LostRow {
  readonly row: RowChange;
  readonly lost: LastWrite;
  /** The overwritten row; null: it was deleted. */
  readonly bytes: Uint8Array | null;
}

function imagesOf(found: readonly FoundRow[]): Image[] {
  const images: Image[] = [];
  for (const { row } of found) if (row.image !== null) images.push(row.image);
  return images;
}

/** Splits the rows so that each set has `size` images; the rows after the last such set are sets of one row. */
function* setsOf(found: readonly FoundRow[], size: number): Iterable<readonly FoundRow[]> {
  let from = 0;
  let images = 0;
  for (let to = 0; to < found.length; to++) {
    if (found[to]!.row.image !== null) images++;
    if (images < size) continue;
    yield found.slice(from, to + 1);
    from = to + 1;
    images = 0;
  }
  for (; from < found.length; from++) yield found.slice(from, from + 1);
}

/** The end of the slice of rows that begins at `from`. */
function sliceEnd(rows: readonly RowChange[], from: number): number {
  const slices = new Slices(SLICE);
  for (let i = from; i < rows.length; i++) if (slices.ends(rows[i]!.image)) return i + 1;
  return rows.length;
}

/** No key comes twice. */
export const areDistinct = (rows: readonly RowChange[]): boolean =>
  distinctUpTo(rows, 0, rows.length) === rows.length;

/** The end of the rows from `from` to `to` in which no key comes twice. */
function distinctUpTo(rows: readonly RowChange[], from: number, to: number): number {
  if (doRise(rows, from, to)) return to;
  const seen = new Set<KeyId>();
  for (let i = from; i < to; i++) {
    const { keyId } = rows[i]!;
    if (seen.has(keyId)) return i;
    seen.add(keyId);
  }
  return to;
}

/** The keys are numbers, each above the one before. */
function doRise(rows: readonly RowChange[], from: number, to: number): boolean {
  let before = Number.NEGATIVE_INFINITY;
  for (let i = from; i < to; i++) {
    const { keyId } = rows[i]!;
    if (typeof keyId !== "number" || keyId <= before) return false;
    before = keyId;
  }
  return true;
}
