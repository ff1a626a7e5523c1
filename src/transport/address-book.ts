/** Which addresses to dial, for whom and when. No I/O: the transport asks what is due and says what came of it. */
import type { Random } from "../base/random.ts";

const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 3000;
/** Addresses learned of one peer; more would be noise or malice. */
const MAX_LEARNED_PER_PEER = 8;
/** Addresses known in all. */
const MAX_ADDRESSES = 1024;

interface Known {
  /** Without /p2p/. */
  readonly address: string;
  /** null: nobody has answered there yet. */
  peer: string | null;
  /** Given by the user, or worked once: never dropped. */
  lasting: boolean;
  failures: number;
  dueAt: number;
  dialling: boolean;
}

/** `/ip4/…/tcp/8160/p2p/ID` ⇒ the address and the id, or null when there is none. */
export function splitAddress(multiaddr: string): { address: string; peer: string | null } {
  const at = multiaddr.lastIndexOf("/p2p/");
  if (at === -1) return { address: multiaddr.replace(/\/$/, ""), peer: null };
  return { address: multiaddr.slice(0, at), peer: multiaddr.slice(at + 5) };
}

export class AddressBook {
  readonly #self: string;
  readonly #random: Random;
  readonly #known = new Map<string, Known>();

  constructor(self: string, random: Random) {
    this.#self = self;
    this.#random = random;
  }

  /** Addresses that a user gave or that are remembered from before. */
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

  /** Addresses that a peer says of itself. `delayMs`: how long to leave the first dial to the other side. */
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

  /** Addresses to dial now: of peers that are not `connected`, and those where nobody has answered yet. */
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

  /** Another peer's link broke: try it soon. */
  hurry(peer: string, now: number): void {
    for (const known of this.#known.values())
      if (known.peer === peer) known.dueAt = Math.min(known.dueAt, now + FIRST_PAUSE_MS);
  }

  of(peer: string): string[] {
    return [...this.#known.values()].filter((k) => k.peer === peer).map((k) => k.address);
  }

  /** Everything worth remembering over a restart. */
  all(): string[] {
    return [...this.#known.values()]
      .filter((k) => k.peer !== this.#self)
      .map((k) => (k.peer === null ? k.address : `${k.address}/p2p/${k.peer}`));
  }
}
