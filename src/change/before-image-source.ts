/**
 * The seam between a drain and the replica: the row that each captured row is compared with. It is never the replica's
 * present row: that may hold a change of another node which the application has not seen.
 */
import type { PositionVector } from "./batch.ts";
import type { KeyId } from "./key.ts";
import type { Image, Value } from "./value.ts";

export interface BeforeImageSource {
  /**
   * The image that the app database showed for the key when it reflected `base`, or the own image that the replica took
   * after that; null: there was no such row.
   */
  beforeImage(table: number, keyId: KeyId, key: readonly Value[], base: PositionVector): Image | null;
  /** The stored row is an own image, or part of `base`, or there was none. False for a row merged by column. */
  isLastWriteOwn(table: number, keyId: KeyId, base: PositionVector): boolean;
  /** The change-log id up to which this node's rows of the table in the key's shard are ordered. */
  watermark(table: number, keyId: KeyId): number;
}
