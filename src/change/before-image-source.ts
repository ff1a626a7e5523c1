/**
 * The seam between a drain and the replica: what each captured row is compared with. Never the replica as it is now:
 * that may hold a foreign change which the application has not seen.
 */
import type { PositionVector } from "./batch.ts";
import type { KeyId } from "./key.ts";
import type { Image, Value } from "./value.ts";

export interface BeforeImageSource {
  /**
   * The image that the live file showed for the key when it reflected `base`, or the own image that the replica took
   * after that; null: there was no such row.
   */
  reference(table: number, keyId: KeyId, key: readonly Value[], base: PositionVector): Image | null;
  /** The change-log id up to which this node's rows of the table in the key's shard are ordered. */
  watermark(table: number, keyId: KeyId): number;
}
