/**
 * Ids as types that do not mix: a shard is no log index, a node's name is no peer id. The tags exist for the compiler
 * only; at run time an id is its text or number.
 */

declare const TAG: unique symbol;

/** A plain value is refused until a constructor names it: for texts that come from outside. */
export type Brand<T, Name extends string> = T & { readonly [TAG]: Name };

/** A plain number is taken, a number of another kind is refused: for ids that loops and sums produce. */
export type Kind<T, Name extends string> = T & { readonly [TAG]?: Name };

/** A libp2p peer id as text (base58 or base36). Stable per node. "": no peer. */
export type PeerId = Brand<string, "PeerId">;
export const asPeerId = (text: string): PeerId => text as PeerId;
export const NO_PEER: PeerId = asPeerId("");

/** 0 … shards − 1. Each is one Raft group. */
export type ShardId = Kind<number, "ShardId">;

/** Place of an entry in one shard's log, from 1; 0: before the first. */
export type LogIndex = Kind<number, "LogIndex">;

/** `TableShape.id`: given when the table is created or imported, stable over RENAME, equal on all nodes. */
export type TableId = Kind<number, "TableId">;

/** Id of a row in one table's change log, from 1; 0: before the first. It only grows. */
export type LogId = Kind<number, "LogId">;
