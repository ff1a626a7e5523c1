/** Connections that this node or a peer refused, and why, until the peer is connected: for the status of both. */
import type { PeerId } from "../../base/ids.ts";

/** Peers that are remembered. */
const MAX_PEERS = 64;
/** A refusal that was not repeated for this time is history. */
const FORGET_MS = 300_000;

export interface Refusal {
  readonly peerId: PeerId;
  /** As its hello gave it; "" while unknown. */
  readonly name: string;
  readonly by: "this node" | "peer";
  readonly reason: string;
  /** Of the node's clock. */
  readonly at: number;
}

export class Refusals {
  readonly #now: () => number;
  readonly #refusals = new Map<PeerId, Refusal>();

  constructor(now: () => number) {
    this.#now = now;
  }

  add(peerId: PeerId, refusal: Omit<Refusal, "peerId" | "at">): void {
    const { name = "" } = this.#refusals.get(peerId) ?? {};
    this.#refusals.delete(peerId); // the last one is the newest
    this.#refusals.set(peerId, { peerId, ...refusal, name: refusal.name || name, at: this.#now() });
    for (const [oldest] of this.#refusals) {
      if (this.#refusals.size <= MAX_PEERS) break;
      this.#refusals.delete(oldest);
    }
  }

  /** The peer works with this node. */
  accepted(peerId: PeerId): void {
    if (this.#refusals.size > 0) this.#refusals.delete(peerId);
  }

  list(): Refusal[] {
    const since = this.#now() - FORGET_MS;
    return [...this.#refusals.values()].filter(({ at }) => at >= since);
  }
}
