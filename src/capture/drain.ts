/**
 * From change-log rows to row changes: one read transaction, a union of whole application transactions, each key once.
 * Each image is compared with the row that the application saw when it wrote. Only rows that differ go on.
 */
import { assert } from "../base/assert.ts";
import type { BasePositions } from "../change/base-positions.ts";
import { Op, type PositionVector, type RowChange, type Watermark } from "../change/batch.ts";
import type { BeforeImageSource } from "../change/before-image-source.ts";
import type { ChangeLogCursors } from "../change/change-log-cursor.ts";
import type { KeyId } from "../change/key.ts";
import { KeyMap } from "../change/key-map.ts";
import type { PendingRows } from "../change/pending-rows.ts";
import type { TableShape } from "../change/shape.ts";
import { type Image, imageEqual, Slices, valueEqual } from "../change/value.ts";
import type { WithheldRows } from "../change/withheld-rows.ts";
import { requireNotFallen } from "../rows/file-life.ts";
import { type CapturedRow, type ChangeLogReader, RowWithoutKey } from "../rows/change-log-reader.ts";

/** Takes the rows of a drain, table by table. A large drain is no different from a small one. */
export interface DrainSink {
  /** The image sent last for the key if it is still in flight; undefined: none is. null: a delete. */
  inFlight(table: number, keyId: KeyId): Image | null | undefined;
  /**
   * A changed row, and the position that its writer saw. False: the changeset cannot leave now. The drain ends, and its rows
   * are drained another time.
   */
  add(shape: TableShape, row: Omit<RowChange, "base">, base: PositionVector): boolean;
  /** Every key of the drain, changed or not: acknowledged together with it. */
  looked(table: number, keyId: KeyId): void;
}

export interface DrainComponents {
  readonly logs: readonly ChangeLogReader[];
  readonly cursors: ChangeLogCursors;
  readonly pending: PendingRows;
  readonly bases: BasePositions;
  readonly withheld: WithheldRows;
  readonly beforeImages: BeforeImageSource;
}

/** "refused": the sink refused a row. `held`: a row of the table has no key. Of both nothing counts as drained. */
export type Drained = "done" | "refused" | { readonly held: number };

/** Rows handled between two yields. */
const SLICE = 1000;

export class Drain {
  readonly #components: DrainComponents;

  constructor(components: DrainComponents) {
    this.#components = components;
  }

  /** `newest`: highest log id by table in the open read transaction. Returns the ranges to drain; empty: nothing is new. */
  news(newest: ReadonlyMap<number, number>): Watermark[] {
    const { cursors } = this.#components;
    return [...newest].flatMap(([table, upTo]) => (upTo > cursors.drained(table) ? [{ table, upTo }] : []));
  }

  /**
   * A log lost its mark (`CUT_LOG`), and writes of the application may be missing in it. Throws `FileChangedError` where only
   * the newest rows are missing.
   */
  isCut(newest: ReadonlyMap<number, number>): boolean {
    const { logs, cursors } = this.#components;
    return logs.some(({ shape: { id } }) => {
      requireNotFallen(newest.get(id) ?? 0, cursors.drained(id));
      return (newest.get(id) ?? 0) < cursors.drained(id);
    });
  }

  /** A row of the table that was written since has no key. In the same read transaction as `news`. */
  hasRowWithoutKey({ table, upTo }: Watermark): boolean {
    const { cursors } = this.#components;
    return this.#log(table).hasRowWithoutKey(cursors.drained(table), upTo);
  }

  #log(table: number): ChangeLogReader {
    const log = this.#components.logs.find((l) => l.shape.id === table);
    assert(log !== undefined, "a watermark is of a captured table");
    return log;
  }

  /** Gives `sink` everything up to `watermarks` (from `news`, in the same read transaction). Yields now and then. */
  *run(watermarks: readonly Watermark[], sink: DrainSink): Generator<void, Drained> {
    const { cursors, pending } = this.#components;
    for (const watermark of watermarks) {
      const { table, upTo } = watermark;
      try {
        if (!(yield* this.#runTable(watermark, sink))) return "refused";
      } catch (error) {
        if (error instanceof RowWithoutKey) return { held: table };
        throw error;
      }
      pending.see(table, upTo);
    }
    for (const { table, upTo } of watermarks) cursors.of(table).drainTo(upTo);
    return "done";
  }

  /** False: the sink refused a row. */
  *#runTable({ table, upTo }: Watermark, sink: DrainSink): Generator<void, boolean> {
    const log = this.#log(table);
    const slices = new Slices(SLICE);
    const taken = new KeyMap<0, never>();
    for (const row of log.captured(this.#components.cursors.drained(table), upTo)) {
      if (!this.#take(log.shape, row, taken, sink)) return false;
      if (slices.ends(row.image)) yield;
    }
    return true;
  }

  /** `taken`: keys whose image was compared in this drain; it is the same whenever the key comes again. */
  #take(shape: TableShape, row: CapturedRow, taken: KeyMap<0, never>, sink: DrainSink): boolean {
    if (row.suspect && row.image !== null) return true; // nothing evicted it
    const { pending, bases, withheld, beforeImages } = this.#components;
    const minId = pending.note(shape.id, row.keyId, row.minId, row.maxId);
    if (taken.has(row.keyId)) return true;
    sink.looked(shape.id, row.keyId);
    const base = withheld.get(shape.id, row.keyId)?.position ?? bases.at(shape.id, minId);
    // Ordered before a restart, and others have written since. An own image is compared all the same: if it differs, an older
    // copy of the file gave the log id to another write.
    if (row.maxId <= beforeImages.watermark(shape.id, row.keyId))
      if (!beforeImages.isLastWriteOwn(shape.id, row.keyId, base)) return true;
    taken.set(row.keyId, 0);
    const sent = sink.inFlight(shape.id, row.keyId);
    const before = sent !== undefined ? sent : beforeImages.beforeImage(shape.id, row.keyId, row.key, base);
    if (before === null && row.image === null) return true;
    if (before !== null && row.image !== null && imageEqual(before, row.image)) return true;
    const { key, keyId, image } = row;
    if (image === null) return sink.add(shape, { op: Op.delete, keyId, key, image, mask: null }, base);
    if (before === null) return sink.add(shape, { op: Op.insert, keyId, key, image, mask: null }, base);
    return sink.add(shape, { op: Op.update, keyId, key, image, mask: maskOf(before, image) }, base);
  }
}

/** Bit i of byte i / 8: column i differs. */
function maskOf(before: Image, image: Image): Uint8Array {
  const mask = new Uint8Array((image.length + 7) >> 3);
  for (let i = 0; i < image.length; i++)
    if (!valueEqual(before[i]!, image[i]!)) mask[i >> 3] = mask[i >> 3]! | (1 << (i & 7));
  return mask;
}
