/** Pairs of members that do not reach each other though both run: named in the status, and in the log once in a while. Pure. */
import type { PeerId } from "../../base/ids.ts";

/** A member as this node knows it at one time. */
export interface Reach {
  readonly peerId: PeerId;
  readonly name: string;
  /** The peers that it is connected to; null: it did not tell. */
  readonly reaches: readonly PeerId[] | null;
  /** The addresses that it tells peers; empty: unknown. */
  readonly addresses: readonly string[];
}

export interface UnreachedPair {
  readonly from: string;
  readonly to: string;
  readonly reason: string;
}

/** A pair is logged when it has lasted for the first time, and again after the second. */
const SAY_AFTER_MS = 5000;
const SAY_AGAIN_MS = 600_000;

/** News of a peer that is older says nothing of the present. */
const FRESH_MS = 5000;

const LOOPBACK = /^\/(?:ip4\/127\.|ip6\/::1\/|dns[46]?\/localhost\/)/;

function reasonOf(from: Reach, to: Reach): string {
  const sides = [
    [from, to],
    [to, from],
  ] as const;
  const reasons = sides.flatMap(([near, far]) => {
    const address = far.addresses.find((a) => !LOOPBACK.test(a));
    if (address !== undefined) return [`check that ${near.name} can open ${address}`];
    const [local] = far.addresses;
    return local === undefined
      ? []
      : [`${far.name} announces only ${local.split("/")[2]}: give it --announce`];
  });
  return reasons.join("; ") || "no connection between the two";
}

interface News {
  readonly at: number;
  readonly reaches?: readonly PeerId[] | undefined;
  readonly addresses?: readonly string[] | undefined;
}

/** This node, and the members that it hears from. */
export function liveMembers(
  members: readonly { readonly peerId: PeerId; readonly name: string }[],
  self: Omit<Reach, "name">,
  news: ReadonlyMap<PeerId, News>,
  now: number,
): Reach[] {
  return members.flatMap(({ peerId, name }): Reach[] => {
    if (peerId === self.peerId) return [{ ...self, name }];
    const last = news.get(peerId);
    if (last === undefined || now - last.at > FRESH_MS) return [];
    return [{ peerId, name, reaches: last.reaches ?? null, addresses: last.addresses ?? [] }];
  });
}

/** Members that only others hear from. `addressesOf`: as this node knows them. */
export function reachedByOthers(
  members: readonly { readonly peerId: PeerId; readonly name: string }[],
  live: readonly Reach[],
  addressesOf: (peer: PeerId) => readonly string[],
): Reach[] {
  return members.flatMap(({ peerId, name }): Reach[] => {
    if (live.some((one) => one.peerId === peerId)) return [];
    const by = live.filter(({ reaches }) => reaches?.includes(peerId) === true);
    const reaches = by.map((one) => one.peerId);
    return by.length === 0 ? [] : [{ peerId, name, reaches, addresses: addressesOf(peerId) }];
  });
}

/** `live`: this node, and the members that it hears from. */
export function unreachedPairs(live: readonly Reach[]): UnreachedPair[] {
  const pairs: UnreachedPair[] = [];
  live.forEach((from, i) => {
    for (const to of live.slice(i + 1)) {
      if (from.reaches === null || to.reaches === null) continue;
      if (from.reaches.includes(to.peerId) || to.reaches.includes(from.peerId)) continue;
      pairs.push({ from: from.name, to: to.name, reason: reasonOf(from, to) });
    }
  });
  return pairs;
}

/** The pairs that are due for a log line. */
export class UnreachedReports {
  readonly #pairs = new Map<string, { readonly since: number; saidAt: number }>();

  take(pairs: readonly UnreachedPair[], now: number): UnreachedPair[] {
    const keys = new Set(pairs.map(({ from, to }) => `${from} ${to}`));
    for (const key of this.#pairs.keys()) if (!keys.has(key)) this.#pairs.delete(key);
    return pairs.filter(({ from, to }) => {
      const key = `${from} ${to}`;
      const known = this.#pairs.get(key) ?? { since: now, saidAt: Number.NEGATIVE_INFINITY };
      this.#pairs.set(key, known);
      if (now - known.since < SAY_AFTER_MS || now - known.saidAt < SAY_AGAIN_MS) return false;
      known.saidAt = now;
      return true;
    });
  }
}
