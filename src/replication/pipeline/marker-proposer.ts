/**
 * Proposes the cross-shard markers that this node's shards owe. The leader of a shard proposes the index of the
 * newest committed entry of shard 0 that names the shard, at once and again until the marker is there. Uncommitted entries
 * do not count: they may be replaced, and the shard would wait for an index that shard 0 does not have.
 */
import { encodeMarker } from "../../change/marking.ts";
import type { CommittedEntry } from "../../replica/order/entry-queue.ts";

/** Milliseconds after which a missing marker is proposed again. */
const PROPOSE_AGAIN_MS = 300;

export interface MarkerProposerComponents {
  /** This node leads the shard. */
  readonly leads: (shard: number) => boolean;
  readonly propose: (shard: number, data: Uint8Array) => "accepted" | "forwarded" | "dropped";
  readonly now: () => number;
}

interface Owed {
  /** Index of the newest committed entry of shard 0 that names the shard. */
  wanted: number;
  /** The greatest marker in the shard's own log, as far as it is committed. */
  marked: number;
  proposed: number;
  proposedAt: number;
}

export class MarkerProposer {
  readonly #components: MarkerProposerComponents;
  /** By shard. */
  readonly #owed: Owed[];

  constructor(shards: number, components: MarkerProposerComponents) {
    this.#components = components;
    this.#owed = Array.from({ length: shards }, () => ({ wanted: 0, marked: 0, proposed: 0, proposedAt: 0 }));
  }

  /** Committed entries of a shard. */
  committed(shard: number, entries: readonly Pick<CommittedEntry, "index" | "names" | "marker">[]): void {
    for (const { index, names, marker } of entries) {
      if (shard === 0) for (const name of names) this.#want(name, index);
      else if (marker !== null) this.#owed[shard]!.marked = Math.max(this.#owed[shard]!.marked, marker);
    }
  }

  #want(shard: number, index: number): void {
    const owed = this.#owed[shard];
    if (owed !== undefined && index > owed.wanted) owed.wanted = index;
  }

  /** Proposes due markers. `passed`: the replica's position in shard 0; entries up to it have their markers. */
  propose(passed: number): void {
    const now = this.#components.now();
    this.#owed.forEach((owed, shard) => {
      const { wanted, marked, proposed, proposedAt } = owed;
      if (wanted <= marked || wanted <= passed) return;
      if (proposed >= wanted && now - proposedAt < PROPOSE_AGAIN_MS) return;
      if (!this.#components.leads(shard)) return;
      if (this.#components.propose(shard, encodeMarker(wanted)) === "dropped") return;
      owed.proposed = wanted;
      owed.proposedAt = now;
    });
  }
}
