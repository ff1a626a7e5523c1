/**
 * The cluster's network over libp2p: one stream to each peer that has the cluster key. The only room that imports libp2p.
 *
 * Dialling is done here and in `address-book.ts` rather than by libp2p's connection manager and peer store. libp2p
 * reconnects to peers by id and gives up after some attempts. A node starts with addresses whose peer ids it does not know
 * (`/dns/node-1/tcp/8160`). It must try them until it stops, with a fixed upper limit of the pause between two attempts.
 */
import { resolveTxt } from "node:dns/promises";
import { asPeerId, type PeerId } from "../base/ids.ts";
import type { Connection, PrivateKey, Stream } from "@libp2p/interface";
import { type Multiaddr, multiaddr } from "@multiformats/multiaddr";
import type { Libp2p } from "libp2p";
import type { Clock, Timer } from "../base/clock.ts";
import { errorMessage, UserError } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import type { Random } from "../base/random.ts";
import type { AddressProblem, Lane, PeerTraffic, Transport, TransportHandlers } from "../shard/seams.ts";
import { AddressBook, type RememberedAddresses } from "./address-book.ts";
import { dialReason } from "./dial-reason.ts";
import { DnsAddresses, isDnsList, type ResolveTxt } from "./addresses/dns-addresses.ts";
import { Discovery, RECORDS } from "./discovery.ts";
import { peerIdOf } from "./identity.ts";
import { createNode, gossipOf } from "./libp2p/create-node.ts";
import { deferWindowUpdates, hasWindow } from "./libp2p/window-updates.ts";
import { isLoopbackAddress } from "./addresses/loopback.ts";
import { OwnAddresses } from "./own-addresses.ts";
import { isBetter, Link, MAX_MESSAGE_BYTES, MAX_STRANGER_BYTES } from "./link.ts";
import { PeerMeters } from "./peer-meters.ts";
import { privateNetwork } from "./private-network.ts";
import { RefusalLog } from "./refusal-log.ts";
import { Strangers } from "./strangers.ts";
import { receiveTransfer, serveTransfer, TransferError, TransferSlots } from "./transfer-stream.ts";

const RAFT_PROTOCOL = "/marmot/raft/1";
const TRANSFER_PROTOCOL = "/marmot/transfer/1";

/** `settled`: while no address waits for a dial. */
const TICK_MS = { usual: 250, settled: 500 } as const;
const DIAL_TIMEOUT_MS = 5000;
/** A peer learned by gossip that has the smaller id dials this node; this node waits so long before it dials itself. */
const YIELD_DIAL_MS = 700;
/** Each peer gets at least one frame in this time. */
const ALIVE_MS = 1000;
/** A link over which nothing arrives for this long is closed. */
const SILENCE_MS = 5000;
/** Peers at the same time; only members may exceed it. */
const MAX_LINKS = 200;
/** A refused peer has this time to read the reason. */
const REFUSED_MS = 1000;
/** Transfers that one peer may request at the same time. */
const MAX_TRANSFERS = 2;

export interface TransportComponents {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

export interface TransportOptions {
  readonly privateKey: PrivateKey;
  /** 32 bytes each; all are accepted, the first is tried first. null: no private network (tests of foreign peers). */
  readonly clusterKeys: readonly Uint8Array[] | null;
  readonly listen: readonly string[];
  /** Addresses that peers are told; empty: the listen addresses. */
  readonly announce: readonly string[];
  /** Multiaddrs that are dialled until the node stops, and lists of them in DNS. */
  readonly peers: readonly string[];
  /** Of an earlier run. */
  readonly remembered: RememberedAddresses;
  readonly mdns: boolean;
  /** Default: as the machine does. */
  readonly resolveTxt?: ResolveTxt;
  /** Called when the addresses to remember over a restart have changed. */
  readonly onAddresses?: (addresses: RememberedAddresses) => void;
  /** A peer refused this node, and why. */
  readonly onRefused?: (peerId: PeerId, reason: string) => void;
}

export class Libp2pTransport implements Transport {
  readonly peerId: PeerId;
  readonly #components: TransportComponents;
  readonly #options: TransportOptions;
  readonly #book: AddressBook;
  readonly #lists: DnsAddresses;
  readonly #links = new Map<PeerId, Link>();
  readonly #heardAt = new Map<PeerId, number>();
  readonly #refusals: RefusalLog;
  /** Addresses at which a handshake has begun, of dials that have not ended. */
  readonly #reached = new Set<string>();
  readonly #strangers: Strangers;
  readonly #meters: PeerMeters;
  readonly #own: OwnAddresses;
  readonly #transfers = new TransferSlots(MAX_TRANSFERS);
  #handlers: TransportHandlers | null = null;
  #node: Libp2p | null = null;
  #discovery: Discovery | null = null;
  #timer: Timer | null = null;
  #tickedAt = 0;
  #aliveAt = 0;

  constructor(components: TransportComponents, options: TransportOptions) {
    this.#components = components;
    this.#options = options;
    this.#refusals = new RefusalLog(components);
    this.#meters = new PeerMeters(() => components.clock.now());
    this.#strangers = new Strangers(components.logger);
    this.#own = new OwnAddresses(() => this.#node?.getMultiaddrs() ?? [], components.clock);
    this.peerId = peerIdOf(options.privateKey);
    this.#book = new AddressBook(this.peerId, components.random.fork());
    const given = options.peers.filter((address) => !isDnsList(address));
    this.#book.add(given, components.clock.now());
    this.#lists = new DnsAddresses(options.peers.filter(isDnsList), {
      resolveTxt: options.resolveTxt ?? resolveTxt,
      now: () => components.clock.now(),
      onAdded: (addresses) => this.addAddresses(addresses),
      onDropped: (addresses) => this.#book.drop(addresses),
    });
    this.#book.remember(options.remembered, components.clock.now());
  }

  /** Throws `UserError` when the node cannot listen on an address. */
  async start(handlers: TransportHandlers): Promise<void> {
    this.#handlers = handlers;
    const { clusterKeys, listen, announce, mdns, privateKey } = this.#options;
    const node = await createNode({
      ...{ privateKey, listen, announce, mdns, topic: RECORDS, dialTimeoutMs: DIAL_TIMEOUT_MS },
      connectionProtector: clusterKeys === null ? null : this.#protector(clusterKeys),
    });
    this.#node = node;
    await node.handle(RAFT_PROTOCOL, (stream, connection) => this.#attach(stream, connection, false), {
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
        `Cannot listen for peers on ${listen.join(", ")}: ${errorMessage(error)}`,
        "choose a free address with --listen, or stop the program that uses this one",
        { cause: error },
      );
    }
    const { clock } = this.#components;
    this.#discovery = new Discovery({
      gossip: gossipOf(node),
      privateKey,
      clock,
      addresses: () => this.announced(),
      knows: (peer) => this.#handlers?.knows?.(peer) ?? true,
      onRecord: (peer, addresses) => this.#onRecord(peer, addresses),
    });
    this.#discovery.start();
    node.addEventListener("peer:discovery", ({ detail }) => {
      this.#onRecord(asPeerId(detail.id.toString()), detail.multiaddrs.map(String));
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
    this.#own.forget();
    await Promise.all([...this.#links.values()].map((link) => link.close()));
    await node?.stop();
  }

  addresses(): string[] {
    return [...this.#own.all];
  }

  announced(): string[] {
    return this.#own.announced;
  }

  connected(): PeerId[] {
    return [...this.#links].filter(([, link]) => link.isOpen).map(([peer]) => peer);
  }

  hasRoom(to: PeerId, bytes: number): boolean {
    return this.#links.get(to)?.hasRoom(bytes) ?? false;
  }

  send(to: PeerId, message: Uint8Array, lane: Lane): boolean {
    return this.#links.get(to)?.send(message, lane) ?? false;
  }

  roundTripMs(peer: PeerId): number | null {
    return this.#meters.roundTripMs(peer);
  }

  traffic(peer: PeerId): PeerTraffic {
    return this.#meters.traffic(peer, this.#links.get(peer)?.traffic);
  }

  addAddresses(multiaddrs: readonly string[]): void {
    this.#book.add(multiaddrs, this.#components.clock.now());
  }

  addressesOf(peerId: PeerId): string[] {
    return this.#book.of(peerId);
  }

  problems(): AddressProblem[] {
    const unlisted = this.#lists.problems();
    const connected = (peer: string): boolean => this.#links.has(asPeerId(peer));
    return [...unlisted, ...this.#book.problems(this.#components.clock.now(), connected)];
  }

  #protector(keys: readonly Uint8Array[]): ReturnType<typeof privateNetwork> {
    return privateNetwork(keys, {
      keyFor: (address) => this.#book.attempt(address) % keys.length,
      onReached: (address) => this.#reached.add(address),
      onStranger: (address) => this.#strangers.met(address, this.#components.clock.now()),
    });
  }

  async *transfer(from: PeerId, request: Uint8Array, signal: AbortSignal): AsyncIterable<Uint8Array> {
    const connection = this.#connectionsOf(from)[0];
    if (connection === undefined) throw new TransferError("the peer is not connected");
    const stream = await connection.newStream(TRANSFER_PROTOCOL, { signal });
    yield* receiveTransfer(stream, this.#components.clock, request, signal);
  }

  expectSilence(peer: PeerId, ms: number): void {
    this.#links.get(peer)?.expectSilence(this.#components.clock.now() + ms);
  }

  #connectionsOf(peerId: PeerId): Connection[] {
    return (
      this.#node?.getConnections().filter((c) => c.remotePeer.toString() === peerId && c.status === "open") ??
      []
    );
  }

  #tick(): void {
    const { clock } = this.#components;
    const now = clock.now();
    // After this process itself was stalled, a peer's silence proves nothing.
    if (now - this.#tickedAt > SILENCE_MS / 2)
      for (const peer of this.#heardAt.keys()) this.#heardAt.set(peer, now);
    this.#tickedAt = now;
    const speak = now - this.#aliveAt >= ALIVE_MS;
    if (speak) this.#aliveAt = now;
    for (const [peer, link] of this.#links) {
      if (link.takeHeard()) this.#heardAt.set(peer, now);
      else if (now - Math.max(this.#heardAt.get(peer) ?? now, link.silentUntil) > SILENCE_MS) {
        this.#components.logger.info("closing the link to a silent peer", { peer });
        for (const end of [link, ...this.#connectionsOf(peer)]) end.abort(new Error("nothing was heard"));
        continue;
      }
      if (speak) link.alive();
    }
    this.#meters.tick(this.#links.keys(), (peer) => this.#connectionsOf(peer)[0]);
    this.#lists.tick();
    const connected = (peer: string): boolean => this.#links.has(asPeerId(peer));
    for (const address of this.#book.due(now, connected)) void this.#dial(address);
    for (const { address, reason } of this.#book.takeReports(now, connected))
      this.#components.logger.info("a peer cannot be reached", { address, reason });
    const pause = this.#book.isSettled(connected) ? TICK_MS.settled : TICK_MS.usual;
    this.#timer = clock.after(pause, () => this.#tick());
  }

  async #dial(address: string): Promise<void> {
    const { clock, logger } = this.#components;
    let connection: Connection | undefined;
    this.#reached.delete(address);
    try {
      const target: Multiaddr = multiaddr(address);
      connection = await this.#node!.dial(target, { signal: AbortSignal.timeout(DIAL_TIMEOUT_MS) });
      const peer = asPeerId(connection.remotePeer.toString());
      const required = this.#book.requiredAt(address);
      if (required !== null && required !== peer) {
        this.#book.failed(address, clock.now(), `node ${peer} answers, and --peers says ${required}`, false);
        connection.abort(new Error("another node was expected"));
        return;
      }
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
      logger.debug("a dial failed", { address, error: errorMessage(error) });
      const now = clock.now();
      if (/self|own/i.test(errorMessage(error))) this.#book.answered(address, this.peerId, now);
      else {
        // The other node ended it before the handshake: it may know another key of this node only.
        const isStranger = connection === undefined && this.#reached.has(address);
        if (isStranger) this.#book.otherKey(address);
        const { reason, isPassing } = dialReason(error, isStranger);
        this.#book.failed(address, now, reason, isPassing);
      }
      connection?.abort(new Error("no stream could be opened"));
    } finally {
      this.#reached.delete(address);
    }
  }

  #attach(stream: Stream, connection: Connection, outbound: boolean): void {
    const handlers = this.#handlers!;
    const peerId = asPeerId(connection.remotePeer.toString());
    if (hasWindow(stream)) deferWindowUpdates(stream);
    let announced = false;
    const isKnown = (): boolean => handlers.knows?.(peerId) ?? true;
    const link: Link = new Link(stream, outbound, handlers.hello(), {
      maxMessageBytes: () => (isKnown() ? MAX_MESSAGE_BYTES : MAX_STRANGER_BYTES),
      onHello: (hello) => {
        const other = this.#links.get(peerId);
        const peer = { peerId, hello, otherLinkSilentMs: this.#silence(peerId, other) };
        const isFull = this.#links.size >= MAX_LINKS && other === undefined && !isKnown();
        const refusal = isFull ? `there are ${MAX_LINKS} peers already` : handlers.admit(peer);
        if (refusal !== null) {
          this.#refusals.warn("a peer was refused", peerId, refusal);
          this.#closeLater(peerId, connection);
          return refusal;
        }
        if (other !== undefined && !isBetter(link, other, this.peerId < peerId))
          return "there is a stream already";
        this.#links.set(peerId, link);
        this.#heardAt.set(peerId, this.#components.clock.now());
        other?.refuse("there is a newer stream");
        announced = true;
        // The link counts as open only after this function returns, so the handlers are called in a microtask.
        queueMicrotask(() => {
          if (this.#links.get(peerId) !== link) return;
          handlers.onConnect(peer);
          this.#discovery?.announce();
          this.#tellAddresses();
        });
        return null;
      },
      onMessage: (message) => handlers.onMessage(peerId, message),
      onRefused: (reason) => {
        if (/stream/.test(reason)) return;
        this.#refusals.warn("a peer refuses this node", peerId, reason);
        this.#book.refused(peerId, this.#components.clock.now(), reason);
        this.#options.onRefused?.(peerId, reason);
      },
      onClose: () => {
        if (!announced || this.#links.get(peerId) !== link) return;
        this.#links.delete(peerId);
        this.#heardAt.delete(peerId);
        this.#meters.ended(peerId, link.traffic);
        this.#book.hurry(peerId, this.#components.clock.now());
        handlers.onDisconnect(peerId);
      },
    });
  }

  /** The reason travels first. Without a link the connection serves nothing. */
  #closeLater(peerId: PeerId, connection: Connection): void {
    this.#components.clock.after(REFUSED_MS, () => {
      if (!this.#links.has(peerId)) connection.abort(new Error("the peer was refused"));
    });
  }

  #silence(peerId: PeerId, link: Link | undefined): number | null {
    if (link === undefined || !link.isOpen) return null;
    const now = this.#components.clock.now();
    return link.wasHeard ? 0 : now - (this.#heardAt.get(peerId) ?? now);
  }

  #onTransfer(stream: Stream, connection: Connection): void {
    const peerId = asPeerId(connection.remotePeer.toString());
    if (!this.#links.has(peerId) || !this.#transfers.take(peerId)) {
      stream.abort(new TransferError("no transfer for this peer now"));
      return;
    }
    stream.addEventListener("close", () => this.#transfers.give(peerId));
    serveTransfer(stream, this.#components.clock, (request) => this.#handlers!.onTransfer(peerId, request));
  }

  #onRecord(peer: PeerId, all: string[]): void {
    if (this.#node === null) return;
    // A loopback address leads to another machine's peer only by mistake.
    const isLocal =
      this.addresses().every(isLoopbackAddress) ||
      this.#connectionsOf(peer).some((c) => isLoopbackAddress(c.remoteAddr.toString()));
    const addresses = isLocal ? all : all.filter((address) => !isLoopbackAddress(address));
    const delay = peer < this.peerId ? YIELD_DIAL_MS : 0;
    if (this.#book.learn(peer, addresses, this.#components.clock.now(), delay)) this.#tellAddresses();
  }

  #tellAddresses(): void {
    this.#options.onAddresses?.(this.#book.toRemember((peer) => this.#links.has(asPeerId(peer))));
  }
}
