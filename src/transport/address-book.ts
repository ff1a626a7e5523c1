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
/** Addresses that are dialled at the same time. */
const MAX_DIALLING = 32;
/** A learned address that never worked is forgotten after so many attempts. */
const MAX_FAILURES = 12;
/** A reason that a node which starts at the same time removes by itself counts after this time. */
const PATIENCE_MS = 4000;
/** Pause between two reports of the same reason. */
const REPORT_MS = 600_000;

/** Multiaddrs to remember over a restart. */
export interface RememberedAddresses {
  /** They were given, or have led to a peer. */
  readonly worked: readonly string[];
  /** Told by connected peers that were never dialled with success: forgotten like any that never worked. */
  readonly told: readonly string[];
}

interface Known {
  /** Without /p2p/. */
  readonly address: string;
  /** null: no node has answered there yet. */
  peer: string | null;
  /** Given by the user or dialled with success: never dropped. */
  lasting: boolean;
  /** Given by the user in this run. */
  given: boolean;
  /** The peer that must answer there; null: any. */
  required: string | null;
  failures: number;
  /** Attempts at which the other side had another key. */
  otherKeys: number;
  dueAt: number;
  dialling: boolean;
  problem: Problem | null;
}

/** Why an address does not lead to a peer. */
interface Problem {
  readonly reason: string;
  readonly since: number;
  /** It may pass by itself: the other node may not have started yet. */
  readonly isPassing: boolean;
  reportedAt: number;
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

  /** Adds addresses given by the user. The id after /p2p/ must be that of the node which answers. */
  add(multiaddrs: readonly string[], now: number): void {
    for (const multiaddr of multiaddrs) {
      const { peer } = splitAddress(multiaddr);
      const known = this.#put(multiaddr, now);
      if (known === null) continue;
      known.given = true;
      known.required = peer;
    }
  }

  /** Addresses that a list in DNS does not have any more. One that led to a peer stays. */
  drop(multiaddrs: readonly string[]): void {
    for (const multiaddr of multiaddrs) {
      const known = this.#known.get(splitAddress(multiaddr).address);
      if (known === undefined) continue;
      known.given = false;
      if (known.failures > 0 || known.peer === null) this.#known.delete(known.address);
    }
  }

  /** Adds the addresses of an earlier run. */
  remember({ worked, told }: RememberedAddresses, now: number): void {
    for (const multiaddr of worked) this.#put(multiaddr, now);
    for (const multiaddr of told) {
      const { address, peer } = splitAddress(multiaddr);
      if (peer !== null && peer !== this.#self && !this.#known.has(address)) this.#new(address, peer, now);
    }
  }

  #put(multiaddr: string, now: number): Known | null {
    const { address, peer } = splitAddress(multiaddr);
    if (peer === this.#self) return null;
    const known = this.#known.get(address) ?? this.#new(address, peer, now);
    if (known !== null) known.lasting = true;
    return known;
  }

  #new(address: string, peer: string | null, dueAt: number): Known | null {
    if (this.#known.size >= MAX_ADDRESSES) return null;
    const known: Known = {
      ...{ address, peer, dueAt, lasting: false, given: false, required: null },
      ...{ failures: 0, otherKeys: 0, dialling: false, problem: null },
    };
    this.#known.set(address, known);
    return known;
  }

  /** Replaces the addresses learned from a peer's record. `delayMs`: time for the other side to dial first. True: some are new. */
  learn(peer: string, addresses: readonly string[], now: number, delayMs: number): boolean {
    if (peer === this.#self) return false;
    const wanted = new Set(addresses.map((a) => splitAddress(a).address).slice(0, MAX_LEARNED_PER_PEER));
    let news = false;
    for (const [address, known] of this.#known)
      if (known.peer === peer && !known.lasting && !wanted.has(address)) this.#known.delete(address);
    for (const address of wanted) {
      if (this.#known.has(address) || this.#new(address, peer, now + delayMs) === null) continue;
      news = true;
    }
    return news;
  }

  /** Addresses to dial now: those of peers that are not `connected`, and those where no node has answered yet. */
  due(now: number, connected: (peer: string) => boolean): string[] {
    const out: string[] = [];
    const busy = new Set<string>();
    let dialling = 0;
    for (const known of this.#known.values()) {
      if (!known.dialling) continue;
      dialling++;
      if (known.peer !== null) busy.add(known.peer);
    }
    for (const known of this.#known.values()) {
      if (dialling >= MAX_DIALLING) break;
      if (known.dialling || known.peer === this.#self || now < known.dueAt) continue;
      if (known.peer !== null && (connected(known.peer) || busy.has(known.peer))) continue;
      known.dialling = true;
      dialling++;
      if (known.peer !== null) busy.add(known.peer);
      out.push(known.address);
    }
    return out;
  }

  /** Every address leads to a connected peer, or to this node itself. */
  isSettled(connected: (peer: string) => boolean): boolean {
    for (const { peer, dialling } of this.#known.values())
      if (dialling || peer === null || (peer !== this.#self && !connected(peer))) return false;
    return true;
  }

  /** `peer` answered at the address; it may be this node itself. */
  answered(address: string, peer: string, now: number): void {
    const known = this.#known.get(address);
    if (known === undefined) return;
    known.dialling = false;
    known.peer = peer;
    known.lasting = true;
    known.failures = 0;
    known.problem = null;
    known.dueAt = now + FIRST_PAUSE_MS;
  }

  /** The peer that must answer at the address; null: any. */
  requiredAt(address: string): string | null {
    return this.#known.get(address)?.required ?? null;
  }

  /** Counts the keys that were tried in vain: the next attempt takes another one. */
  attempt(address: string): number {
    return this.#known.get(address)?.otherKeys ?? 0;
  }

  otherKey(address: string): void {
    const known = this.#known.get(address);
    if (known !== undefined) known.otherKeys++;
  }

  /** `isPassing`: the other node may not have started yet. */
  failed(address: string, now: number, reason: string, isPassing: boolean): void {
    const known = this.#known.get(address);
    if (known === undefined) return;
    known.dialling = false;
    known.failures++;
    if (!known.lasting && known.failures >= MAX_FAILURES) {
      this.#known.delete(address);
      return;
    }
    if (known.problem?.reason !== reason)
      known.problem = {
        ...{ reason, isPassing, since: now },
        reportedAt: Number.NEGATIVE_INFINITY,
      };
    const pause = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** Math.min(known.failures, 10));
    known.dueAt = now + pause / 2 + this.#random.below(pause / 2 + 1);
  }

  /** The given addresses that lead to no connected peer, with the reasons; of the others those that do not pass by themselves. */
  problems(now: number, connected: (peer: string) => boolean): { address: string; reason: string }[] {
    const given = [...this.#known.values()].filter((known) => known.given);
    // One of several is harmless: all nodes may have the same list.
    if (given.length > 0 && given.every(({ peer }) => peer === this.#self))
      return given.map(({ address }) => ({ address, reason: "this node itself answers there" }));
    return this.#withProblem(now, connected).map(({ address, problem }) => ({
      address,
      reason: problem.reason,
    }));
  }

  /** The same, but each reason once in a long while. */
  takeReports(now: number, connected: (peer: string) => boolean): { address: string; reason: string }[] {
    const due = this.#withProblem(now, connected).filter(
      ({ problem }) => now - problem.reportedAt >= REPORT_MS,
    );
    for (const { problem } of due) problem.reportedAt = now;
    return due.map(({ address, problem }) => ({ address, reason: problem.reason }));
  }

  #withProblem(now: number, connected: (peer: string) => boolean): { address: string; problem: Problem }[] {
    return [...this.#known.values()].flatMap(({ address, peer, given, problem }) => {
      if (problem === null || (peer !== null && connected(peer))) return [];
      if (!given && (problem.isPassing || peer === null || peer === this.#self)) return [];
      return problem.isPassing && now - problem.since < PATIENCE_MS ? [] : [{ address, problem }];
    });
  }

  /** The link to `peer` broke: its addresses are due soon. */
  hurry(peer: string, now: number): void {
    if (now < (this.#restUntil.get(peer) ?? 0)) return;
    for (const known of this.#known.values())
      if (known.peer === peer) known.dueAt = Math.min(known.dueAt, now + FIRST_PAUSE_MS);
  }

  /** The peer refused this node: its addresses are due after the longest pause. */
  refused(peer: string, now: number, reason: string): void {
    for (const [other, until] of this.#restUntil) if (until <= now) this.#restUntil.delete(other);
    this.#restUntil.set(peer, now + LONGEST_PAUSE_MS);
    for (const known of this.#known.values()) {
      if (known.peer !== peer) continue;
      known.dueAt = Math.max(known.dueAt, now + LONGEST_PAUSE_MS);
      known.problem = {
        ...{ reason: `the node there refuses this one: ${reason}`, isPassing: false, since: now },
        // The refusal itself is in the log.
        reportedAt: Number.POSITIVE_INFINITY,
      };
    }
  }

  of(peer: string): string[] {
    return [...this.#known.values()].filter((k) => k.peer === peer).map((k) => k.address);
  }

  toRemember(connected: (peer: string) => boolean): RememberedAddresses {
    const others = [...this.#known.values()].filter((k) => k.peer !== this.#self);
    const lasting = others.filter((k) => k.lasting);
    const reached = new Set(lasting.map((k) => k.peer));
    const told = others.filter((k) => !k.lasting && !reached.has(k.peer) && connected(k.peer!));
    const text = (k: Known): string => (k.peer === null ? k.address : `${k.address}/p2p/${k.peer}`);
    return { worked: lasting.map(text), told: told.map(text) };
  }
}
