/** Measures of the connections: the time of a ping to each peer and back, and the bytes of ended links. */
import type { Connection } from "@libp2p/interface";
import type { PeerId } from "../base/ids.ts";
import type { PeerTraffic } from "../shard/seams.ts";

const PING_MS = 5000;
const PING_TIMEOUT_MS = 4000;
/** Peers that are remembered after their links have ended. */
const MAX_PEERS = 256;

/** Yamux has a ping; libp2p's interface does not show it. */
interface Pinging {
  readonly muxer?: { ping?(options?: { readonly signal?: AbortSignal }): Promise<number> };
}

export class PeerMeters {
  readonly #now: () => number;
  readonly #roundTrips = new Map<PeerId, number>();
  readonly #ended = new Map<PeerId, PeerTraffic>();
  #pingedAt = Number.NEGATIVE_INFINITY;

  constructor(now: () => number) {
    this.#now = now;
  }

  roundTripMs(peer: PeerId): number | null {
    return this.#roundTrips.get(peer) ?? null;
  }

  /** Bytes of the ended links and of the open one. */
  traffic(peer: PeerId, open: PeerTraffic | undefined): PeerTraffic {
    const ended = this.#ended.get(peer);
    return {
      sent: (ended?.sent ?? 0) + (open?.sent ?? 0),
      received: (ended?.received ?? 0) + (open?.received ?? 0),
    };
  }

  /** The link to the peer has ended. */
  ended(peer: PeerId, link: PeerTraffic): void {
    this.#roundTrips.delete(peer);
    if (this.#ended.size >= MAX_PEERS && !this.#ended.has(peer)) this.#ended.clear();
    this.#ended.set(peer, this.traffic(peer, link));
  }

  /** Pings each peer that has an open connection, once in a while. */
  tick(peers: Iterable<PeerId>, connectionOf: (peer: PeerId) => Connection | undefined): void {
    const now = this.#now();
    if (now - this.#pingedAt < PING_MS) return;
    this.#pingedAt = now;
    for (const peer of peers) void this.#ping(peer, connectionOf(peer));
  }

  async #ping(peer: PeerId, connection: Connection | undefined): Promise<void> {
    const { muxer } = (connection ?? {}) as Pinging;
    if (muxer?.ping === undefined) return;
    const startedAt = this.#now();
    try {
      await muxer.ping({ signal: AbortSignal.timeout(PING_TIMEOUT_MS) });
      this.#roundTrips.set(peer, this.#now() - startedAt);
    } catch {
      // The connection has ended, or answers too late: the last measure is no longer true.
      this.#roundTrips.delete(peer);
    }
  }
}
