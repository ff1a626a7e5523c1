/** One key of a change log, with what the application's file holds for it in the same read transaction. */
import type { KeyId } from "../change/key.ts";
import type { TableShape } from "../change/shape.ts";
import type { Image, Value } from "../change/value.ts";

export interface CapturedRow {
  readonly keyId: KeyId;
  /** Key columns in key order. */
  readonly key: readonly Value[];
  /** Oldest and newest log id of the key in the range that was read. */
  readonly minId: number;
  readonly maxId: number;
  /** All of the key's log rows in the range are suspicions of an eviction. */
  readonly suspect: boolean;
  /** null: the row is gone. */
  readonly image: Image | null;
}

/** Reads one table's change log; the caller holds the read transaction. */
export interface ChangeLogReader {
  readonly shape: TableShape;
  /** Highest id in the log; 0: empty. */
  maxId(): number;
  /**
   * Keys with log ids in (from, to], some perhaps more than once, with their newest image; suspicions that were found
   * to be none are left out. Throws `UserError` for a NULL key.
   */
  rows(from: number, to: number): Iterable<CapturedRow>;
}
