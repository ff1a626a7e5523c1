/**
 * The nodes of a new cluster meet: `--bootstrap-expect N` nodes that see the same N nodes agree on the one that forms the
 * cluster, and the others join it. Pure. A node forms the cluster only with the promises of all N, so fewer than N nodes
 * never form a second one.
 */
import { NO_PEER, type PeerId } from "../../base/ids.ts";

/** A node's part in a meeting, as it tells the others. */
export interface Offer {
  readonly name: string;
  readonly role: "voter" | "learner";
  readonly expect: number;
  /** "none": no file, or an empty one; "some": not compared yet; else the digest of schema and rows. */
  readonly data: string;
  /** The nodes that it has met, itself included, sorted. */
  readonly sees: readonly PeerId[];
  /** The node that may form the cluster; "": none yet. */
  readonly gives: PeerId;
}

export type Step =
  | { readonly kind: "wait"; readonly reason: string }
  /** This node forms the cluster. */
  | { readonly kind: "form" }
  /** The digest of this node's file is needed. */
  | { readonly kind: "compare" }
  | { readonly kind: "refuse"; readonly reason: string; readonly hint: string };

/** An offer that is not repeated for this time no longer counts. */
const OFFER_MS = 3000;

const wait = (reason: string): Step => ({ kind: "wait", reason });
const list = (names: readonly string[]): string => [...names].sort().join(", ");

export interface MeetingSelf {
  readonly peerId: PeerId;
  readonly name: string;
  readonly role: "voter" | "learner";
  readonly expect: number;
}

export class Meeting {
  readonly #self: MeetingSelf;
  readonly #offers = new Map<PeerId, { readonly offer: Offer; readonly at: number }>();
  /** A promise is kept while the other node is met. */
  #gives: PeerId = NO_PEER;
  /** See `Offer`. */
  data: string;

  constructor(self: MeetingSelf, data: string) {
    this.#self = self;
    this.data = data;
  }

  heard(peer: PeerId, offer: Offer, now: number): void {
    this.#offers.set(peer, { offer, at: now });
  }

  left(peer: PeerId): void {
    this.#offers.delete(peer);
  }

  /** The offer to tell all connected peers. */
  offer(now: number): Offer {
    const { name, role, expect } = this.#self;
    return { name, role, expect, data: this.data, sees: this.#sees(now), gives: this.#gives };
  }

  #met(now: number): Map<PeerId, Offer> {
    const met = new Map<PeerId, Offer>();
    for (const [peer, { offer, at }] of this.#offers) if (now - at <= OFFER_MS) met.set(peer, offer);
    return met;
  }

  #sees(now: number): PeerId[] {
    return [this.#self.peerId, ...this.#met(now).keys()].sort();
  }

  next(now: number): Step {
    const { expect, name } = this.#self;
    const met = this.#met(now);
    if (this.#gives !== this.#self.peerId && !met.has(this.#gives)) this.#gives = NO_PEER;
    const other = [...met.values()].find((o) => o.expect !== expect);
    if (other !== undefined)
      return wait(
        `${other.name} has --bootstrap-expect ${other.expect}, this node ${expect}: give all nodes the same number`,
      );
    const names = list([name, ...[...met.values()].map((o) => o.name)]);
    const count = met.size + 1;
    if (count < expect) return wait(`${count} of ${expect} nodes have met (${names})`);
    if (count > expect)
      return wait(
        `${count} nodes have met (${names}), and --bootstrap-expect says ${expect}: stop the others until the cluster is formed`,
      );
    return this.#agree(met, now);
  }

  /** All expected nodes are met. */
  #agree(met: ReadonlyMap<PeerId, Offer>, now: number): Step {
    const { peerId, name, expect } = this.#self;
    const all = new Map([...met, [peerId, this.offer(now)]]);
    const withData = [...all].filter(([, o]) => o.data !== "none");
    if (withData.length > 1) {
      if (this.data === "some") return { kind: "compare" };
      const owners = list(withData.map(([, o]) => o.name));
      if (withData.some(([, o]) => o.data === "some")) return wait(`comparing the files of ${owners}`);
      if (new Set(withData.map(([, o]) => o.data)).size > 1)
        return {
          kind: "refuse",
          reason: `the files of ${owners} hold different data, and a new cluster begins with one of them`,
          hint: "move all files but the right one to another place, and start these nodes again: they receive the data",
        };
    }
    const voters = [...all].filter(([, o]) => o.role === "voter");
    const candidates = withData.length > 0 ? withData : voters;
    if (candidates.length === 0) return wait("all nodes have --role learner: give one of them a vote");
    const former = candidates.map(([peer]) => peer).sort()[0]!;
    const sees = this.#sees(now).join();
    const agreed = [...met.values()].every((o) => o.sees.join() === sees);
    if (agreed && this.#gives === NO_PEER) this.#gives = former;
    const promised = [...met.values()].every((o) => o.gives === peerId);
    if (agreed && former === peerId && this.#gives === peerId && promised) return { kind: "form" };
    const by = former === peerId ? name : all.get(former)!.name;
    return wait(`all ${expect} nodes have met; ${by} forms the cluster`);
  }
}
