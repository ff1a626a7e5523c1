/** A simulated network behind the `Transport` seam: connections that break, messages that are late, lost, doubled, reordered. */
import type { PeerId } from "../../src/base/ids.ts";
import type { Random } from "../../src/base/random.ts";
import { MessageKind } from "../../src/shard/frames.ts";
import type { Transport, TransportHandlers } from "../../src/shard/seams.ts";
import type { World } from "./world.ts";

/** How often two nodes without a connection try to make one, at most. */
const DIAL_MS = 300;
/** A connection over which one side hears nothing is given up after at most this long. */
const SILENCE_MS = 5000;

export interface NetworkProfile {
  /** Milliseconds of a message's way. */
  readonly latency: readonly [number, number];
  /** A stream keeps the order and loses nothing while it lives; otherwise messages are on their own. */
  readonly ordered: boolean;
  readonly loss: number;
  readonly duplication: number;
}

export const CALM: NetworkProfile = { latency: [0.2, 1], ordered: true, loss: 0, duplication: 0 };

class Link {
  open = false;
  /** Counts connections: a message that was sent over an older one does not arrive. */
  epoch = 0;
  dialing = false;
  /** Where the last message of each direction arrives, for order. */
  readonly arrival = new Map<string, number>();
}

export class Network {
  profile: NetworkProfile = CALM;
  readonly #world: World;
  readonly #random: Random;
  /** By address: a clone has the peer id of its original, and an address of its own. */
  readonly #up = new Map<string, SimTransport>();
  readonly #links = new Map<string, Link>();
  readonly #cut = new Map<string, number>();
  messages = 0;

  constructor(world: World) {
    this.#world = world;
    this.#random = world.random.fork();
  }

  linkOf(a: string, b: string): Link {
    const name = a < b ? `${a}|${b}` : `${b}|${a}`;
    let link = this.#links.get(name);
    if (link === undefined) this.#links.set(name, (link = new Link()));
    return link;
  }

  peers(): string[] {
    return [...this.#up.keys()];
  }

  transportOf(peer: string): SimTransport | undefined {
    return this.#up.get(peer);
  }

  /** Nothing goes from `a` to `b`. */
  cut(a: string, b: string): void {
    this.#cut.set(`${a}>${b}`, this.#world.now);
    this.#world.after(this.#random.between(1000, SILENCE_MS), () => {
      if (this.isCut(a, b)) this.#close(a, b);
    });
  }

  heal(a: string, b: string): void {
    this.#cut.delete(`${a}>${b}`);
  }

  healAll(): void {
    this.#cut.clear();
  }

  isCut(a: string, b: string): boolean {
    return this.#cut.has(`${a}>${b}`);
  }

  enter(transport: SimTransport): void {
    this.#up.set(transport.address, transport);
    for (const peer of this.#up.keys())
      if (this.#up.get(peer)!.peerId !== transport.peerId) this.#dialLater(transport.address, peer);
  }

  /** The process of this transport has ended; `silently`: its peers are not notified. */
  leave(transport: SimTransport, silently: boolean): void {
    if (this.#up.get(transport.address) !== transport) return;
    this.#up.delete(transport.address);
    for (const peer of this.#up.keys()) {
      const link = this.linkOf(transport.address, peer);
      if (!link.open) continue;
      link.open = false;
      link.epoch++;
      const other = this.#up.get(peer)!;
      const epoch = link.epoch;
      this.#world.after(silently ? this.#random.between(1000, SILENCE_MS) : this.#latency(), () => {
        if (this.#up.get(peer) === other && link.epoch === epoch) other.lost(transport);
      });
    }
  }

  #dialLater(a: string, b: string): void {
    const link = this.linkOf(a, b);
    if (link.open || link.dialing) return;
    link.dialing = true;
    this.#world.after(this.#random.between(5, DIAL_MS), () => {
      link.dialing = false;
      const [left, right] = [this.#up.get(a), this.#up.get(b)];
      if (left === undefined || right === undefined || link.open) return;
      if (this.isCut(a, b) || this.isCut(b, a)) return this.#dialLater(a, b);
      // Both hellos cross: each side hears whether the other refuses it.
      const greetings = [left.greet(right), right.greet(left)];
      if (!greetings.every(Boolean)) return this.#dialLater(a, b);
      link.open = true;
      link.epoch++;
      link.arrival.clear();
      left.found(right);
      if (link.open) right.found(left);
    });
  }

  #close(a: string, b: string): void {
    const link = this.linkOf(a, b);
    if (!link.open) return;
    link.open = false;
    link.epoch++;
    const [left, right] = [this.#up.get(a), this.#up.get(b)];
    if (right !== undefined) left?.lost(right);
    if (left !== undefined) right?.lost(left);
    this.#dialLater(a, b);
  }

  breakLink(a: string, b: string): void {
    this.#close(a, b);
  }

  #latency(): number {
    const [from, to] = this.profile.latency;
    return from + ((to - from) * this.#random.below(1000)) / 1000;
  }

  send(from: string, to: string, message: Uint8Array): boolean {
    const link = this.linkOf(from, to);
    if (!link.open) return false;
    this.messages++;
    if (message[0] === MessageKind.raft) this.#world.mix(message);
    const { ordered, loss, duplication } = this.profile;
    const copies = 1 + (!ordered && this.#random.chance(duplication) ? 1 : 0);
    for (let i = 0; i < copies; i++) {
      if (!ordered && this.#random.chance(loss)) continue;
      let at = this.#world.now + this.#latency();
      if (ordered) {
        at = Math.max(at, link.arrival.get(from) ?? 0);
        link.arrival.set(from, at);
      }
      const bytes = message.slice();
      const { epoch } = link;
      this.#world.after(at - this.#world.now, () => {
        // A cut swallows also what was under way.
        if (link.epoch !== epoch || this.isCut(from, to)) return;
        const sender = this.#up.get(from);
        if (sender !== undefined) this.#up.get(to)?.deliver(sender, bytes);
      });
    }
    return true;
  }

  /** Resolves when the message would arrive; false: its connection no longer exists. */
  async way(from: string, to: string, epoch: number): Promise<boolean> {
    await new Promise<void>((resolve) => void this.#world.after(this.#latency(), resolve));
    const link = this.linkOf(from, to);
    return link.open && link.epoch === epoch && !this.isCut(from, to);
  }
}

export interface TransportHooks {
  /** Called before each message leaves, to check it; a crash of the process may be placed here. */
  readonly onSend: (message: Uint8Array) => void;
  /** The hello that is shown. */
  readonly onHello: (bytes: Uint8Array) => Uint8Array;
  /** Runs what the network calls into the node, as that node's own: later, if it is stopped for a while. */
  readonly run: (work: () => void) => void;
  readonly alive: () => boolean;
  /** A peer's state is asked for. */
  readonly onFetch: () => void;
  /** A peer refused this node's hello. */
  readonly onTurnedAway: (by: PeerId, reason: string) => void;
  /** A message was none. */
  readonly onRefused: (from: PeerId, error: unknown) => void;
}

export class SimTransport implements Transport {
  readonly peerId: PeerId;
  readonly #network: Network;
  readonly #hooks: TransportHooks;
  /** Where in the network this transport is: a clone is at another address than its original. */
  readonly address: string;
  /** Peer ⇒ address of its connected process. */
  readonly #connected = new Map<PeerId, string>();
  #handlers: TransportHandlers | null = null;

  constructor(
    { peerId, address }: { readonly peerId: PeerId; readonly address: string },
    network: Network,
    hooks: TransportHooks,
  ) {
    this.peerId = peerId;
    this.address = address;
    this.#network = network;
    this.#hooks = hooks;
  }

  start(handlers: TransportHandlers): Promise<void> {
    this.#handlers = handlers;
    if (this.alive) this.#network.enter(this);
    return Promise.resolve();
  }

  get handlers(): TransportHandlers | null {
    return this.#handlers;
  }

  /** The process of this transport is there. */
  get alive(): boolean {
    return this.#hooks.alive();
  }

  stop(): Promise<void> {
    this.#network.leave(this, false);
    this.#handlers = null;
    return Promise.resolve();
  }

  addresses(): string[] {
    return [`/memory/${this.peerId}`];
  }

  /** Shows this side's hello to the other. */
  greet(other: SimTransport): boolean {
    const own = this.#handlers?.hello();
    if (own === undefined) return false;
    const refusal = other.#handlers?.admit({
      peerId: this.peerId,
      hello: this.#hooks.onHello(own.slice()),
      otherLinkSilentMs: other.#connected.has(this.peerId) ? 0 : null,
    });
    if (refusal === null) return true;
    if (refusal !== undefined) this.#hooks.run(() => this.#hooks.onTurnedAway(other.peerId, refusal));
    return false;
  }

  found(other: SimTransport): void {
    const before = this.#connected.get(other.peerId);
    // The same address again: this side did not notice yet that the last connection broke.
    if (before !== undefined && before !== other.address) this.#network.breakLink(before, this.address);
    this.#connected.set(other.peerId, other.address);
    this.#hooks.run(() =>
      this.#handlers?.onConnect({
        peerId: other.peerId,
        hello: new Uint8Array(0),
        otherLinkSilentMs: null,
      }),
    );
  }

  lost(other: SimTransport): void {
    if (this.#connected.get(other.peerId) !== other.address) return;
    this.#connected.delete(other.peerId);
    this.#hooks.run(() => this.#handlers?.onDisconnect(other.peerId));
  }

  /** A handler that throws closes the stream. */
  deliver(from: SimTransport, message: Uint8Array): void {
    this.#hooks.run(() => {
      try {
        this.#handlers?.onMessage(from.peerId, message);
      } catch (error) {
        this.#hooks.onRefused(from.peerId, error);
        this.#network.breakLink(from.address, this.address);
      }
    });
  }

  send(to: PeerId, message: Uint8Array): boolean {
    if (this.alive) this.#hooks.onSend(message);
    const address = this.#connected.get(to);
    return this.alive && address !== undefined && this.#network.send(this.address, address, message);
  }

  connected(): PeerId[] {
    return [...this.#connected.keys()];
  }

  async *transfer(from: PeerId, request: Uint8Array): AsyncIterable<Uint8Array> {
    this.#hooks.onFetch();
    const address = this.#connected.get(from) ?? from;
    const link = this.#network.linkOf(address, this.address);
    const source = this.#network.transportOf(address);
    const handlers = source?.handlers ?? null;
    if (!link.open || source === undefined || handlers === null) throw new Error("the peer is not connected");
    const { epoch } = link;
    for await (const chunk of handlers.onTransfer(this.peerId, request)) {
      const arrived = await this.#network.way(address, this.address, epoch);
      if (!arrived || !this.alive || !source.alive) throw new Error("the transfer broke off");
      yield chunk.slice();
    }
  }

  addAddresses(): void {}

  addressesOf(peerId: PeerId): string[] {
    return [`/memory/${peerId}`];
  }

  announced(): string[] {
    return this.addresses();
  }

  problems(): [] {
    return [];
  }
}
