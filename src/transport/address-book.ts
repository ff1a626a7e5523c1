/**
 * The addresses to dial, with the peer and the time of the next attempt for each. No I/O: the transport asks for the
 * addresses that are due and reports each result. Kept beside libp2p's peer store, which files addresses under a peer id:
 * the addresses of `--peers` have no peer id until a node has answered there, and must never be dropped.
 */
import type { Random } from "../base/random.ts";

const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 3000;
/** Addresses accepted from the record of one peer. */
const MAX_LEARNED_PER_PEER = 8;
/** Addresses of all peers together. */
const MAX_ADDRESSES = 1024;

interface Known {
  /** Without /p2p/. */
  readonly address: string;
  /** null: no node has answered there yet. */
  peer: string | null;
  /** Given by the user or dialled with success: never dropped. */
  lasting: boolean;
  failures: number;
  dueAt: number;
  dialling: boolean;
}

/** `/ip4/…/tcp/8160/p2p/ID` ⇒ the address and the id; null: without an id. */
export function splitAddress(multiaddr: string): { address: string; peer: string | null } {
  const at = multiaddr.lastIndexOf("/p2p/");
  if (at === -1) return { address: multiaddr.replace(/\/$/, ""), peer: null };
  return { address: multiaddr.slice(0, at), peer: multiaddr.slice(at + 5) };
}

export class AddressBook {
  readonly #self: string;
  readonly #random: Random;
  readonly #known = new Map<string, Known>();
  /** Peers that refused this node. */
  readonly #restUntil = new Map<string, number>();

  constructor(self: string, random: Random) {
    this.#self = self;
    this.#random = random;
  }

  /** Adds addresses given by the user or remembered from an earlier run. */
  add(multiaddrs: readonly string[], now: number): void {
    for (const multiaddr of multiaddrs) {
      const { address, peer } = splitAddress(multiaddr);
      if (peer === this.#self || this.#known.size >= MAX_ADDRESSES) continue;
      const known = this.#known.get(address);
      if (known === undefined)
        this.#known.set(address, { address, peer, lasting: true, failures: 0, dueAt: now, dialling: false });
      else known.lasting = true;
    }
  }

  /** Replaces the addresses learned from a peer's record. `delayMs`: time for the other side to dial first. True: some are new. */
  learn(peer: string, addresses: readonly string[], now: number, delayMs: number): boolean {
    if (peer === this.#self) return false;
    const wanted = new Set(addresses.map((a) => splitAddress(a).address).slice(0, MAX_LEARNED_PER_PEER));
    let news = false;
    for (const [address, known] of this.#known)
      if (known.peer === peer && !known.lasting && !wanted.has(address)) this.#known.delete(address);
    for (const address of wanted) {
      const known = this.#known.get(address);
      if (known !== undefined || this.#known.size >= MAX_ADDRESSES) continue;
      news = true;
      this.#known.set(address, {
        address,
        peer,
        lasting: false,
        failures: 0,
        dueAt: now + delayMs,
        dialling: false,
      });
    }
    return news;
  }

  /** Addresses to dial now: those of peers that are not `connected`, and those where no node has answered yet. */
  due(now: number, connected: (peer: string) => boolean): string[] {
    const out: string[] = [];
    const busy = new Set<string>();
    for (const known of this.#known.values()) if (known.dialling && known.peer !== null) busy.add(known.peer);
    for (const known of this.#known.values()) {
      if (known.dialling || known.peer === this.#self || now < known.dueAt) continue;
      if (known.peer !== null && (connected(known.peer) || busy.has(known.peer))) continue;
      known.dialling = true;
      if (known.peer !== null) busy.add(known.peer);
      out.push(known.address);
    }
    return out;
  }

  /** `peer` answered at the address; it may be this node itself. */
  answered(address: string, peer: string, now: number): void {
    const known = this.#known.get(address);
    if (known === undefined) return;
    known.dialling = false;
    known.peer = peer;
    known.lasting = true;
    known.failures = 0;
    known.dueAt = now + FIRST_PAUSE_MS;
  }

  failed(address: string, now: number): void {
    const known = this.#known.get(address);
    if (known === undefined) return;
    known.dialling = false;
    known.failures++;
    const pause = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** Math.min(known.failures, 10));
    known.dueAt = now + pause / 2 + this.#random.below(pause / 2 + 1);
  }

  /** The link to `peer` broke: its addresses are due soon. */
  hurry(peer: string, now: number): void {
    if (now < (this.#restUntil.get(peer) ?? 0)) return;
    for (const known of this.#known.values())
      if (known.peer === peer) known.dueAt = Math.min(known.dueAt, now + FIRST_PAUSE_MS);
  }

  /** The peer refused this node: its addresses are due after the longest pause. */
  rest(peer: string, now: number): void {
    this.#restUntil.set(peer, now + LONGEST_PAUSE_MS);
    for (const known of this.#known.values())
      if (known.peer === peer) known.dueAt = Math.max(known.dueAt, now + LONGEST_PAUSE_MS);
  }

  of(peer: string): string[] {
    return [...this.#known.values()].filter((k) => k.peer === peer).map((k) => k.address);
  }

  /** The addresses to remember over a restart. */
  all(): string[] {
    return [...this.#known.values()]
      .filter((k) => k.peer !== this.#self)
      .map((k) => (k.peer === null ? k.address : `${k.address}/p2p/${k.peer}`));
  }
}
