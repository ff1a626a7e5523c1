/**
 * The cluster's network over libp2p: one stream to each peer that has the cluster key, found and held by a dial loop of
 * its own. The only room that knows libp2p.
 */
import { gossipsub, type GossipSub } from "@chainsafe/libp2p-gossipsub";
import { identify } from "@libp2p/identify";
import type { Connection, PrivateKey, Stream } from "@libp2p/interface";
import { mdns } from "@libp2p/mdns";
import { yamux } from "@libp2p/yamux";
import { type Multiaddr, multiaddr } from "@multiformats/multiaddr";
import { createLibp2p, type Libp2p } from "libp2p";
import type { Clock, Timer } from "../base/clock.ts";
import { errorMessage, UserError } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import type { Random } from "../base/random.ts";
import type { Lane, Transport, TransportHandlers } from "../shard/seams.ts";
import { AddressBook, splitAddress } from "./address-book.ts";
import { privateNetworkKey } from "./cluster-key.ts";
import { Discovery, MAX_NEWS_BYTES } from "./discovery.ts";
import { peerIdOf } from "./identity.ts";
import { Link } from "./link.ts";
import { sodiumNoise } from "./noise.ts";
import { privateNetwork } from "./private-network.ts";
import { tcp } from "./tcp.ts";
import { receiveTransfer, serveTransfer, TransferError } from "./transfer-stream.ts";

const RAFT_PROTOCOL = "/marmot/raft/1";
const TRANSFER_PROTOCOL = "/marmot/transfer/1";

const TICK_MS = 250;
/** News is sent to all at once; the mesh is upkeep, and every beat costs an idle node CPU. */
const GOSSIP_HEARTBEAT_MS = 5000;
const DIAL_TIMEOUT_MS = 5000;
/** A peer learned by gossip with a smaller id dials us: we leave it that long. */
const YIELD_DIAL_MS = 700;
/** A word to each peer at least this often. */
const ALIVE_MS = 1000;
/** A link that nothing came over for this long is broken. */
const SILENCE_MS = 5000;
/** Transfers served to one peer at once. */
const MAX_TRANSFERS = 2;

export interface TransportComponents {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

export interface TransportOptions {
  readonly privateKey: PrivateKey;
  /** 32 bytes; null: no private network (tests of strangers). */
  readonly clusterKey: Uint8Array | null;
  readonly listen: readonly string[];
  /** What to tell peers; empty: what is listened on. */
  readonly announce: readonly string[];
  /** Multiaddrs to dial for ever. */
  readonly peers: readonly string[];
  readonly mdns: boolean;
  /** Called when addresses worth remembering changed. */
  readonly onAddresses?: (multiaddrs: string[]) => void;
  /** A peer refused this node, and why. */
  readonly onRefused?: (peerId: string, reason: string) => void;
}

type Services = { identify: unknown; gossip: GossipSub };

export class Libp2pTransport implements Transport {
  readonly peerId: string;
  readonly #components: TransportComponents;
  readonly #options: TransportOptions;
  readonly #book: AddressBook;
  readonly #links = new Map<string, Link>();
  readonly #heardAt = new Map<string, number>();
  readonly #blocked = new Set<string>();
  readonly #transfers = new Map<string, number>();
  #handlers: TransportHandlers | null = null;
  #node: Libp2p | null = null;
  #discovery: Discovery | null = null;
  #timer: Timer | null = null;
  #tickedAt = 0;
  #aliveAt = 0;

  constructor(components: TransportComponents, options: TransportOptions) {
    this.#components = components;
    this.#options = options;
    this.peerId = peerIdOf(options.privateKey);
    this.#book = new AddressBook(this.peerId, components.random.fork());
    this.#book.add(options.peers, components.clock.now());
  }

  /** Throws `UserError` when an address cannot be listened on. */
  async start(handlers: TransportHandlers): Promise<void> {
    this.#handlers = handlers;
    const { clusterKey, listen, announce, privateKey } = this.#options;
    const node = await createLibp2p({
      privateKey,
      addresses: { listen: [...listen], announce: [...announce] },
      transports: [tcp()],
      connectionEncrypters: [await sodiumNoise()],
      streamMuxers: [
        yamux({
          streamOptions: {
            maxStreamWindowSize: 1 << 20,
            maxReadBufferLength: 8 << 20,
            maxWriteBufferLength: 64 << 20,
          },
        }),
      ],
      ...(clusterKey === null ? {} : { connectionProtector: privateNetwork(privateNetworkKey(clusterKey)) }),
      ...(this.#options.mdns ? { peerDiscovery: [mdns()] } : {}),
      connectionManager: {
        inboundConnectionThreshold: 200,
        maxIncomingPendingConnections: 64,
        dialTimeout: DIAL_TIMEOUT_MS,
        reconnectRetries: 0,
      },
      connectionMonitor: { enabled: false },
      connectionGater: {
        denyInboundEncryptedConnection: (peer) => this.#blocked.has(peer.toString()),
        denyOutboundEncryptedConnection: (peer) => this.#blocked.has(peer.toString()),
        denyDialMultiaddr: () => false,
      },
      services: {
        identify: identify(),
        gossip: gossipsub({
          allowPublishToZeroTopicPeers: true,
          emitSelf: false,
          floodPublish: true,
          heartbeatInterval: GOSSIP_HEARTBEAT_MS,
        }),
      } as never,
      start: false,
    });
    this.#node = node;
    await node.handle(RAFT_PROTOCOL, (stream, connection) => this.#onStream(stream, connection), {
      maxInboundStreams: 8,
      maxOutboundStreams: 8,
    });
    await node.handle(TRANSFER_PROTOCOL, (stream, connection) => this.#onTransfer(stream, connection), {
      maxInboundStreams: 8,
      maxOutboundStreams: 8,
    });
    try {
      await node.start();
    } catch (error) {
      throw new UserError(
        `peers cannot be listened for on ${listen.join(", ")}: ${errorMessage(error)}`,
        "choose a free address with --listen, or stop what uses it",
        { cause: error },
      );
    }
    const { clock } = this.#components;
    this.#discovery = new Discovery({
      gossip: (node.services as unknown as Services).gossip,
      privateKey,
      clock,
      addresses: () => this.addresses().map((a) => splitAddress(a).address),
      onRecord: (peer, addresses) => this.#onRecord(peer, addresses),
      onNews: (message) => handlers.onGossip(message),
    });
    this.#discovery.start();
    node.addEventListener("peer:discovery", ({ detail }) => {
      this.#onRecord(detail.id.toString(), detail.multiaddrs.map(String));
    });
    this.#tickedAt = clock.now();
    this.#tick();
  }

  async stop(): Promise<void> {
    this.#timer?.cancel();
    this.#timer = null;
    this.#discovery?.stop();
    const node = this.#node;
    this.#node = null;
    await Promise.all([...this.#links.values()].map((link) => link.close()));
    await node?.stop();
  }

  addresses(): string[] {
    return this.#node?.getMultiaddrs().map(String) ?? [];
  }

  connected(): string[] {
    return [...this.#links].filter(([, link]) => link.isOpen).map(([peer]) => peer);
  }

  send(to: string, message: Uint8Array, lane: Lane): boolean {
    return this.#links.get(to)?.send(message, lane) ?? false;
  }

  queued(to: string): number {
    return this.#links.get(to)?.queued ?? 0;
  }

  publish(message: Uint8Array): void {
    if (message.length <= MAX_NEWS_BYTES) this.#discovery?.news(message);
  }

  addAddresses(multiaddrs: readonly string[]): void {
    this.#book.add(multiaddrs, this.#components.clock.now());
  }

  addressesOf(peerId: string): string[] {
    return this.#book.of(peerId);
  }

  block(peerId: string, blocked: boolean): void {
    if (!blocked) {
      this.#blocked.delete(peerId);
      return;
    }
    this.#blocked.add(peerId);
    this.#links.get(peerId)?.refuse("this node refuses you");
    for (const connection of this.#connectionsOf(peerId)) connection.abort(new Error("blocked"));
  }

  async *transfer(from: string, request: Uint8Array, signal: AbortSignal): AsyncIterable<Uint8Array> {
    const connection = this.#connectionsOf(from)[0];
    if (connection === undefined) throw new TransferError("the peer is not connected");
    const stream = await connection.newStream(TRANSFER_PROTOCOL, { signal });
    yield* receiveTransfer(stream, this.#components.clock, request, signal);
  }

  #connectionsOf(peerId: string): Connection[] {
    return (
      this.#node?.getConnections().filter((c) => c.remotePeer.toString() === peerId && c.status === "open") ??
      []
    );
  }

  #tick(): void {
    const { clock } = this.#components;
    const now = clock.now();
    // After a stall of our own, nobody's silence means anything.
    if (now - this.#tickedAt > SILENCE_MS / 2)
      for (const peer of this.#heardAt.keys()) this.#heardAt.set(peer, now);
    this.#tickedAt = now;
    const speak = now - this.#aliveAt >= ALIVE_MS;
    if (speak) this.#aliveAt = now;
    for (const [peer, link] of this.#links) {
      if (link.takeHeard()) this.#heardAt.set(peer, now);
      else if (now - (this.#heardAt.get(peer) ?? now) > SILENCE_MS) {
        this.#components.logger.info("a peer fell silent", { peer });
        link.abort(new Error("nothing was heard"));
        for (const connection of this.#connectionsOf(peer)) connection.abort(new Error("nothing was heard"));
        continue;
      }
      if (speak) link.alive();
    }
    for (const address of this.#book.due(now, (peer) => this.#links.has(peer))) void this.#dial(address);
    this.#timer = clock.after(TICK_MS, () => this.#tick());
  }

  async #dial(address: string): Promise<void> {
    const { clock } = this.#components;
    let connection: Connection | undefined;
    try {
      const target: Multiaddr = multiaddr(address);
      connection = await this.#node!.dial(target, { signal: AbortSignal.timeout(DIAL_TIMEOUT_MS) });
      const peer = connection.remotePeer.toString();
      this.#book.answered(address, peer, clock.now());
      if (peer === this.peerId) {
        void connection.close().catch(() => {});
        return;
      }
      if (this.#links.has(peer) || this.#node === null) return;
      const stream = await connection.newStream(RAFT_PROTOCOL, {
        signal: AbortSignal.timeout(DIAL_TIMEOUT_MS),
      });
      this.#attach(stream, connection, true);
    } catch (error) {
      this.#components.logger.debug("a dial failed", { address, error: errorMessage(error) });
      if (/self|own/i.test(errorMessage(error))) this.#book.answered(address, this.peerId, clock.now());
      else this.#book.failed(address, clock.now());
      connection?.abort(new Error("no stream could be opened"));
    }
  }

  #onStream(stream: Stream, connection: Connection): void {
    this.#attach(stream, connection, false);
  }

  #attach(stream: Stream, connection: Connection, outbound: boolean): void {
    const handlers = this.#handlers!;
    const peerId = connection.remotePeer.toString();
    let announced = false;
    const link: Link = new Link(stream, outbound, handlers.hello(), {
      onHello: (hello) => {
        if (this.#blocked.has(peerId)) return "this node refuses you";
        const peer = { peerId, hello, remoteAddress: connection.remoteAddr.toString() };
        const refusal = handlers.admit(peer);
        if (refusal !== null) {
          this.#components.logger.warn("a peer was refused", { peer: peerId, reason: refusal });
          return refusal;
        }
        const other = this.#links.get(peerId);
        if (other !== undefined && !this.#isBetter(link, other, peerId)) return "there is a stream already";
        this.#links.set(peerId, link);
        this.#heardAt.set(peerId, this.#components.clock.now());
        if (other !== undefined) {
          other.refuse("there is a newer stream");
        }
        announced = true;
        // The link counts as open once this returns: say so on the next turn of the queue.
        queueMicrotask(() => {
          if (this.#links.get(peerId) !== link) return;
          handlers.onConnect(peer);
          this.#discovery?.announce();
          this.#options.onAddresses?.(this.#book.all());
        });
        return null;
      },
      onMessage: (message) => handlers.onMessage(peerId, message),
      onRefused: (reason) => {
        if (/stream/.test(reason)) return;
        this.#components.logger.warn("a peer refuses this node", { peer: peerId, reason });
        this.#options.onRefused?.(peerId, reason);
      },
      onClose: () => {
        if (!announced || this.#links.get(peerId) !== link) return;
        this.#links.delete(peerId);
        this.#book.hurry(peerId, this.#components.clock.now());
        handlers.onDisconnect(peerId);
      },
    });
  }

  /** Of two streams that cross, the one that the smaller id opened stays; of two from the same side, the newer. */
  #isBetter(link: Link, than: Link, peerId: string): boolean {
    if (link.outbound === than.outbound) return true;
    return link.outbound === this.peerId < peerId;
  }

  #onTransfer(stream: Stream, connection: Connection): void {
    const peerId = connection.remotePeer.toString();
    const running = this.#transfers.get(peerId) ?? 0;
    if (!this.#links.has(peerId) || running >= MAX_TRANSFERS) {
      stream.abort(new TransferError("no transfer for this peer now"));
      return;
    }
    this.#transfers.set(peerId, running + 1);
    stream.addEventListener("close", () =>
      this.#transfers.set(peerId, (this.#transfers.get(peerId) ?? 1) - 1),
    );
    serveTransfer(stream, this.#components.clock, (request) => this.#handlers!.onTransfer(peerId, request));
  }

  #onRecord(peer: string, addresses: string[]): void {
    if (this.#node === null || this.#blocked.has(peer)) return;
    const delay = peer < this.peerId ? YIELD_DIAL_MS : 0;
    if (this.#book.learn(peer, addresses, this.#components.clock.now(), delay))
      this.#options.onAddresses?.(this.#book.all());
  }
}
