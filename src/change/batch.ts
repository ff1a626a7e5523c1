/** The contents of the total order: batches of row changes, and the few other kinds of entries. */
import type { LogId, TableId } from "../base/ids.ts";
import type { KeyId } from "./key.ts";
import type { Image, Value } from "./value.ts";

/** Position per shard: `vector[shard]` is an index in that shard's log. */
export type PositionVector = readonly number[];

export const BatchKind = {
  /** Opens an incarnation of its origin in this shard (the fence). No rows. */
  open: 0,
  rows: 1,
  /** Makes every node record its checksums at this position, or, by its note, the states of conflicts. No rows. */
  check: 2,
  /** Changes the schema, and then rows. */
  schema: 3,
} as const;
export type BatchKind = (typeof BatchKind)[keyof typeof BatchKind];

export const Op = { insert: 0, update: 1, delete: 2 } as const;
export type Op = (typeof Op)[keyof typeof Op];

export interface RowChange {
  readonly op: Op;
  readonly keyId: KeyId;
  /** Whole image; null for a delete. */
  readonly image: Image | null;
  /** The key's columns in key order. */
  readonly key: readonly Value[];
  /** Updates: bit i of byte i/8 is set when column i differs from the before image. null otherwise. */
  readonly mask: Uint8Array | null;
  /** Index into `Batch.bases`. */
  readonly base: number;
  /** The image as it is in a batch; absent: it did not come in one. */
  readonly packed?: PackedImage;
}

/** The place of an encoded image. It is valid for `image` alone. */
export interface PackedImage {
  readonly image: Image;
  readonly bytes: Uint8Array;
  readonly from: number;
  readonly to: number;
  /** Classes follow the values. */
  readonly isClassed: boolean;
}

export interface TableChanges {
  /** `TableShape.id`. */
  readonly table: TableId;
  /** Number of stored columns that the images have. */
  readonly columns: number;
  readonly rows: readonly RowChange[];
}

/** Up to which id a change log of the origin is covered by this batch. */
export interface Watermark {
  /** `TableShape.id` of the table whose log it is. */
  readonly table: TableId;
  readonly upTo: LogId;
}

export interface Batch {
  readonly kind: BatchKind;
  /** Peer id of the node that captured it. */
  readonly origin: string;
  readonly incarnation: number;
  /** Sequence number of this changeset in (origin, incarnation, shard): 1, 2, … */
  readonly csn: number;
  /** 1, 2, … A changeset takes effect with its last part. */
  readonly part: number;
  /** The number of parts, on the last one; 0 on those before it, as it is not known yet. */
  readonly parts: number;
  /** The csn before this one in this shard; 0 opens an incarnation. */
  readonly previousCsn: number;
  readonly schemaVersion: number;
  /**
   * Distinct position vectors that rows refer to; [0] is the usual one. `schema`: [0] of the last part is the position that
   * the origin's file showed at least of every row; without it that position is unknown.
   */
  readonly bases: readonly PositionVector[];
  /** The origin's replica positions when it drained; empty unless transactions are whole across shards. */
  readonly after: PositionVector;
  readonly watermarks: readonly Watermark[];
  /** Wall clock of the origin, milliseconds since 1970. It is only shown to people; no rule depends on it. */
  readonly time: number;
  /** `check`: an id by which the asking node finds its answers, or conflicts with their new state; else "". */
  readonly note: string;
  readonly tables: readonly TableChanges[];
  /** `schema`: the schema change, as `schema/` encodes it; empty in parts before the last. Else absent. */
  readonly schema?: Uint8Array;
}

/** The replica's answer to one of this node's own batches, for the outbox. */
export interface OwnOutcome {
  readonly shard: number;
  readonly incarnation: number;
  readonly csn: number;
  readonly part: number;
  /** "redirect": taken, but some rows got other rowids than their own, which ends the incarnation. */
  readonly verdict: "take" | "redirect" | "stage" | "refuse";
}
