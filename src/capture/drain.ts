/**
 * From change-log rows to row changes: one read transaction, a union of whole application transactions, each key once.
 * Each image is compared with what the application saw when it wrote, and only what differs goes on.
 */
import { assert } from "../base/assert.ts";
import type { BasePositions } from "../change/base-positions.ts";
import { Op, type PositionVector, type RowChange, type Watermark } from "../change/batch.ts";
import type { KeyId } from "../change/key.ts";
import { KeyMap } from "../change/key-map.ts";
import type { PendingRows } from "../change/pending-rows.ts";
import type { WithheldRows } from "../change/withheld-rows.ts";
import type { BeforeImageSource } from "../change/before-image-source.ts";
import type { TableShape } from "../change/shape.ts";
import { type Image, imageEqual, valueEqual } from "../change/value.ts";
import type { CapturedRow, ChangeLogReader } from "./captured-row.ts";

/** Takes what a drain finds, in the order of tables; sees no difference between a small and a large one. */
export interface DrainSink {
  /** The image sent last for the key if it is still in flight; undefined: none is. null: a delete. */
  inFlight(table: number, keyId: KeyId): Image | null | undefined;
  /**
   * A changed row, and the position its writer saw. False: the changeset cannot leave now; the drain ends, and what it
   * looked at is drained another time.
   */
  add(shape: TableShape, row: Omit<RowChange, "base">, base: PositionVector): boolean;
  /** Every key that was looked at, changed or not: acknowledged together with the drain. */
  looked(table: number, keyId: KeyId): void;
}

export interface DrainComponents {
  readonly logs: readonly ChangeLogReader[];
  readonly pending: PendingRows;
  readonly bases: BasePositions;
  readonly shadows: WithheldRows;
  readonly references: BeforeImageSource;
}

/** Rows handled between two yields. */
const SLICE = 1000;

export class Drain {
  readonly #components: DrainComponents;
  /** Table ⇒ log id up to which it was drained. */
  readonly #drained = new Map<number, number>();
  /** Table ⇒ log id up to which the file says that its changes are ordered: nothing before is pending. */
  readonly #ordered = new Map<number, number>();

  constructor(components: DrainComponents) {
    this.#components = components;
  }

  /** Starts over from the acknowledged ids: after a start and when an incarnation ended. */
  reset(acknowledged: ReadonlyMap<number, number>): void {
    this.#drained.clear();
    for (const [table, id] of acknowledged) this.#drained.set(table, id);
    for (const [table, id] of this.#ordered) this.#skip(table, id);
  }

  /** The file says that the table's changes are ordered up to `id`. */
  ordered(table: number, id: number): void {
    if (id > (this.#ordered.get(table) ?? 0)) this.#ordered.set(table, id);
    this.#skip(table, id);
  }

  #skip(table: number, id: number): void {
    if (id > this.drainedTo(table)) this.#drained.set(table, id);
  }

  drainedTo(table: number): number {
    return this.#drained.get(table) ?? 0;
  }

  /** `newest`: highest log id by table, as the open read transaction sees it. Gives what is new; empty: nothing to do. */
  news(newest: ReadonlyMap<number, number>): Watermark[] {
    return [...newest].flatMap(([table, upTo]) => (upTo > this.drainedTo(table) ? [{ table, upTo }] : []));
  }

  /**
   * Feeds `sink` with everything up to `watermarks` (from `news`, in the same read transaction). Yields now and then.
   * False as result: the sink did not take it, and nothing counts as drained.
   */
  *run(watermarks: readonly Watermark[], sink: DrainSink): Generator<void, boolean> {
    let handled = 0;
    const before = new Map(this.#drained);
    for (const { table, upTo } of watermarks) {
      const log = this.#components.logs.find((l) => l.shape.id === table);
      assert(log !== undefined, "a watermark is of a captured table");
      const taken = new KeyMap<0, never>();
      for (const row of log.rows(this.drainedTo(table), upTo)) {
        if (!this.#take(log.shape, row, taken, sink)) {
          this.reset(before);
          return false;
        }
        if (++handled % SLICE === 0) yield;
      }
      this.#components.pending.see(table, upTo);
      this.#skip(table, upTo);
    }
    return true;
  }

  /** `taken`: keys whose image was compared in this drain; it is the same whenever the key comes again. */
  #take(shape: TableShape, row: CapturedRow, taken: KeyMap<0, never>, sink: DrainSink): boolean {
    if (row.suspect && row.image !== null) return true; // nothing evicted it
    const { pending, bases, shadows, references } = this.#components;
    const minId = pending.note(shape.id, row.keyId, row.minId, row.maxId);
    if (taken.has(row.keyId)) return true;
    sink.looked(shape.id, row.keyId);
    if (row.maxId <= references.watermark(shape.id, row.keyId)) return true; // these log rows were ordered before a restart
    taken.set(row.keyId, 0);
    const base = shadows.get(shape.id, row.keyId)?.position ?? bases.at(shape.id, minId);
    const sent = sink.inFlight(shape.id, row.keyId);
    const reference = sent !== undefined ? sent : references.reference(shape.id, row.keyId, row.key, base);
    if (reference === null && row.image === null) return true;
    if (reference !== null && row.image !== null && imageEqual(reference, row.image)) return true;
    const { key, keyId, image } = row;
    if (image === null) return sink.add(shape, { op: Op.delete, keyId, key, image, mask: null }, base);
    if (reference === null) return sink.add(shape, { op: Op.insert, keyId, key, image, mask: null }, base);
    return sink.add(shape, { op: Op.update, keyId, key, image, mask: maskOf(reference, image) }, base);
  }
}

/** Bit i of byte i / 8: column i differs. */
function maskOf(reference: Image, image: Image): Uint8Array {
  const mask = new Uint8Array((image.length + 7) >> 3);
  for (let i = 0; i < image.length; i++)
    if (!valueEqual(reference[i]!, image[i]!)) mask[i >> 3] = mask[i >> 3]! | (1 << (i & 7));
  return mask;
}
