/** Receivers of a replica that still need the log from their position on. Pure. */
import type { LogIndex, ShardId } from "../../base/ids.ts";
import type { PeerId } from "../../shard/seams.ts";

/** A receiver that is not connected for this time no longer counts. */
const GONE_MS = 60_000;
/** News of a peer that is older says nothing of the present. */
const FRESH_MS = 5000;
/** Entries behind the end of a log that each node keeps for late followers. */
const CLOSE_ENTRIES = 1000;

interface Hold {
  positions: readonly LogIndex[];
  seenAt: number;
}

export class LogHolds {
  /** The end of the archive: entries after it are still to be shipped. null: there is no archive. */
  archive: readonly LogIndex[] | null = null;
  readonly #holds = new Map<PeerId, Hold>();

  /** The peer receives a replica with these positions. */
  hold(peer: PeerId, positions: readonly LogIndex[], now: number): void {
    this.#holds.set(peer, { positions, seenAt: now });
  }

  /** The peer has applied the entries up to these positions. `ends`: of this node's logs. */
  heard(peer: PeerId, applied: readonly LogIndex[], ends: readonly LogIndex[]): void {
    const hold = this.#holds.get(peer);
    if (hold === undefined) return;
    if (ends.every((end, shard) => end - (applied[shard] ?? 0) <= CLOSE_ENTRIES)) this.#holds.delete(peer);
    else hold.positions = hold.positions.map((index, shard) => Math.max(index, applied[shard] ?? 0));
  }

  /** Drops the receivers that are gone. */
  tick(connected: readonly PeerId[], now: number): void {
    for (const [peer, hold] of this.#holds) {
      if (connected.includes(peer)) hold.seenAt = now;
      else if (now - hold.seenAt > GONE_MS) this.#holds.delete(peer);
    }
  }

  /** The lowest position that is needed; null: none. */
  lowest(shard: ShardId): LogIndex | null {
    let lowest: LogIndex | null = this.archive?.[shard] ?? null;
    for (const { positions } of this.#holds.values()) {
      const index = positions[shard];
      if (index !== undefined && (lowest === null || index < lowest)) lowest = index;
    }
    return lowest;
  }

  get isEmpty(): boolean {
    return this.#holds.size === 0 && this.archive === null;
  }
}

/** The lowest position from which a receiver of a replica needs the log, of this node's or of a peer's; null: none. */
export function lowestHold(
  shard: ShardId,
  own: LogHolds,
  news: Iterable<{ readonly at: number; readonly holds?: readonly LogIndex[] | undefined }>,
  now: number,
): LogIndex | null {
  let lowest = own.lowest(shard);
  for (const { holds, at } of news) {
    const index = holds?.[shard];
    if (index !== undefined && now - at <= FRESH_MS && (lowest === null || index < lowest)) lowest = index;
  }
  return lowest;
}
