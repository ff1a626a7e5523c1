/**
 * Nodes that handle large entries and cannot answer for a while: a write of 100 MB to the log, the replica and the file is
 * one step each, and every node takes it at the same time. Without a word of them a leader would step down, or be replaced.
 * This delays elections alone, and ends with the connection: a process that ends is noticed at once.
 */
import type { Clock } from "../base/clock.ts";
import type { Logger } from "../base/logger.ts";
import type { PeerId, Transport } from "../shard/seams.ts";
import type { ShardRuntime } from "../shard/runtime.ts";
import { TICK_MS } from "./event-loop.ts";
import type { PeerNews } from "./peer-news.ts";

/** A busy machine with a slow disk handles at least so much. */
const BYTES_PER_MS = 2500;
const LEAST_MS = 2000;
/** No node is taken for busy longer than this after its last word. */
const MOST_MS = 30_000;
/** Peers are told again after this time, or about more. */
const AGAIN_MS = 1000;
/** Fewer bytes are handled at once without a word. */
const LARGE_BYTES = 4 << 20;

export interface BusyPeersComponents {
  readonly runtime: ShardRuntime;
  readonly peers: Pick<PeerNews, "tellAll">;
  readonly transport: Pick<Transport, "expectSilence">;
  readonly clock: Clock;
  readonly logger: Logger;
}

export class BusyPeers {
  readonly #components: BusyPeersComponents;
  #toldAt = Number.NEGATIVE_INFINITY;
  #toldBytes = 0;

  constructor(components: BusyPeersComponents) {
    this.#components = components;
  }

  /** This node writes, applies or shows so many bytes next. True: the peers were told. */
  tell(bytes: number): boolean {
    if (bytes < LARGE_BYTES) return false;
    const { clock, peers, logger } = this.#components;
    const sinceMs = clock.now() - this.#toldAt;
    if (sinceMs < AGAIN_MS && bytes <= this.#toldBytes) return false;
    if (sinceMs > MOST_MS) logger.info("taking large rows", { bytes });
    this.#toldAt = clock.now();
    this.#toldBytes = bytes;
    peers.tellAll({ kind: "busy", ms: Math.min(MOST_MS, Math.ceil(LEAST_MS + bytes / BYTES_PER_MS)) });
    return true;
  }

  /** 0: the connection to the peer ended. */
  heard(peer: PeerId, ms: number): void {
    const { runtime, transport } = this.#components;
    const within = Math.min(ms, MOST_MS);
    for (const group of runtime.groups) {
      const member = group.memberOf(peer);
      if (member !== undefined) group.raft.memberBusy(member.id, Math.ceil(within / TICK_MS));
    }
    if (within > 0) transport.expectSilence?.(peer, within);
  }
}
