/**
 * Peer discovery by gossip: each node publishes its signed peer record, so a node that knows one peer learns the addresses
 * of all others. Only records travel by gossip; everything else uses the streams between two nodes.
 */
import { asPeerId, type PeerId } from "../base/ids.ts";
import type { GossipSub } from "@chainsafe/libp2p-gossipsub";
import type { PrivateKey } from "@libp2p/interface";
import { peerIdFromPrivateKey } from "@libp2p/peer-id";
import { PeerRecord, RecordEnvelope } from "@libp2p/peer-record";
import { multiaddr } from "@multiformats/multiaddr";
import type { Clock, Timer } from "../base/clock.ts";

export const RECORDS = "marmot/records/1";
const PUBLISH_MS = 10_000;
/** A lower number counts where no higher one came for this time: the peer was started again on a clock that was set back. */
const FORGET_MS = 3 * PUBLISH_MS;
/** Pause after a new link, so that several new links cause one record. */
const SOON_MS = 50;
const MAX_ADDRESSES = 8;
const MAX_RECORD_BYTES = 8 << 10;
/** Peers whose newest sequence number is kept. */
const MAX_PEERS = 4096;

export interface DiscoveryComponents {
  readonly gossip: GossipSub;
  readonly privateKey: PrivateKey;
  readonly clock: Clock;
  readonly addresses: () => string[];
  /** Only records of these peers count. */
  readonly knows: (peer: PeerId) => boolean;
  /** A record, signed by the peer, with its addresses. */
  readonly onRecord: (peer: PeerId, addresses: string[]) => void;
}

export class Discovery {
  readonly #components: DiscoveryComponents;
  readonly #sequences = new Map<string, { readonly number: bigint; readonly at: number }>();
  /** The sequence number of this node's last record. */
  #published = -1n;
  #timer: Timer | null = null;
  #soon: Timer | null = null;
  #stopped = false;

  constructor(components: DiscoveryComponents) {
    this.#components = components;
  }

  start(): void {
    const { gossip } = this.#components;
    gossip.addEventListener("message", (event) => {
      const { topic, data } = event.detail;
      if (topic === RECORDS && data.length <= MAX_RECORD_BYTES) void this.#onRecord(data);
    });
    gossip.subscribe(RECORDS);
    this.#repeat();
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
    this.#soon?.cancel();
  }

  #repeat(): void {
    if (this.#stopped) return;
    void this.#publishRecord();
    this.#timer = this.#components.clock.after(PUBLISH_MS, () => this.#repeat());
  }

  /** Publishes this node's record soon, because there is a new link. */
  announce(): void {
    if (this.#stopped || this.#soon !== null) return;
    this.#soon = this.#components.clock.after(SOON_MS, () => {
      this.#soon = null;
      void this.#publishRecord();
    });
  }

  async #publishRecord(): Promise<void> {
    const { privateKey, clock, addresses } = this.#components;
    const peerId = peerIdFromPrivateKey(privateKey);
    const multiaddrs = addresses()
      .slice(0, MAX_ADDRESSES)
      .map((a) => multiaddr(a));
    // Rises while the process runs, whatever the clock does.
    const time = BigInt(Math.floor(clock.wallTime()));
    this.#published = time > this.#published ? time : this.#published + 1n;
    const record = new PeerRecord({ peerId, multiaddrs, seqNumber: this.#published });
    const envelope = await RecordEnvelope.seal(record, privateKey);
    if (this.#stopped) return;
    try {
      await this.#components.gossip.publish(RECORDS, envelope.marshal());
    } catch {
      // No peer has subscribed yet; the next round sends the record again.
    }
  }

  async #onRecord(data: Uint8Array): Promise<void> {
    try {
      const envelope = await RecordEnvelope.openAndCertify(data, PeerRecord.DOMAIN);
      const record = PeerRecord.createFromProtobuf(envelope.payload);
      const peer = asPeerId(record.peerId.toString());
      if (!record.peerId.publicKey?.equals(envelope.publicKey) || !this.#components.knows(peer)) return;
      const now = this.#components.clock.now();
      const last = this.#sequences.get(peer);
      if (last !== undefined && record.seqNumber <= last.number && now - last.at < FORGET_MS) return;
      if (this.#sequences.size >= MAX_PEERS && !this.#sequences.has(peer)) return;
      this.#sequences.set(peer, { number: record.seqNumber, at: now });
      this.#components.onRecord(peer, record.multiaddrs.slice(0, MAX_ADDRESSES).map(String));
    } catch {
      // Not a valid signed record: ignored.
    }
  }
}
