/** Types that the rooms of the replica share while a changeset is applied: its place in the log, and writes of rows. */
import type { PositionVector } from "../../change/batch.ts";
import type { KeyId } from "../../change/key.ts";
import type { TableShape } from "../../change/shape.ts";
import type { Image } from "../../change/value.ts";

/** The position of a changeset, and its origin. */
export interface ChangesetContext {
  readonly shard: number;
  readonly index: number;
  /** `peerHash` of the origin. */
  readonly origin: number;
  /** The origin is this node: its app database has these images or newer ones. */
  readonly own: boolean;
  /** An earlier process of this node sent it: the app database may have lost these images since. Absent: false. */
  readonly isEarlier?: boolean;
  readonly bases: readonly PositionVector[];
  readonly time: number;
}

/** The app database has the rows of the changeset as they were sent. Rows without a key cannot be told from others there. */
export const isInAppDb = (
  { own, isEarlier = false }: ChangesetContext,
  { rowidKey }: Pick<TableShape, "rowidKey">,
): boolean => own && (!isEarlier || rowidKey);

export interface LastWrite {
  readonly shard: number;
  readonly index: number;
  readonly origin: number;
}

/** The origin of rows that the replica itself writes to resolve references. It differs from the hash of every node. */
export const RESOLVER_ORIGIN = 0;

/** The base position includes the write. */
export const covers = (
  base: PositionVector | undefined,
  { shard, index }: Pick<LastWrite, "shard" | "index">,
): boolean => index <= (base?.[shard] ?? 0);

/** The write, if another origin made it and the changeset's base position does not include it; else null. */
export function unseenWrite(
  write: LastWrite | null,
  base: PositionVector | undefined,
  { origin }: Pick<ChangesetContext, "origin">,
): LastWrite | null {
  if (write === null || write.origin === origin) return null;
  return covers(base, write) ? null : write;
}

/** One row that a changeset wrote or evicted. */
export interface ObservedWrite {
  readonly shape: TableShape;
  readonly keyId: KeyId;
  readonly before: Image | null;
  readonly after: Image | null;
  /** An insert may have replaced another row of the same key. */
  readonly isInsert: boolean;
  /** The last write before this one. */
  readonly last: LastWrite | null;
  /** The writer's base position. */
  readonly base: PositionVector | undefined;
  readonly context: ChangesetContext;
}

export interface WriteObserver {
  /** It must be told of the table's rows. */
  concerns(shape: TableShape): boolean;
  /** The order in which it is told of the table's rows matters. */
  refersToItself(shape: TableShape): boolean;
  wrote(write: ObservedWrite): void;
}
