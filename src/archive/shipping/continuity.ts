/** Whether the log of a node goes on where the archive ends. */
import { nextTurn } from "../../base/clock.ts";
import type { Link } from "../chain-link.ts";
import type { ShippedNode, ShippedState } from "./shipped.ts";

/** A leader of shard 0 whose other shards are behind the archive for so long has lost entries. */
const LOST_MS = 60_000;

/** "wait": the node is behind. "compacted": entries between are gone. "fork": the archive has entries that the cluster has not. */
export type Answer = "none" | "wait" | "compacted" | "fork";

export class Continuity {
  #lostSince: number | null = null;

  of(node: ShippedNode, { to, terms }: Link, leads: boolean, now: number): Answer {
    let waits = false;
    for (let shard = 0; shard < node.shards; shard++) {
      const log = node.log(shard);
      const at = to[shard]!;
      if (at > log.lastIndex()) {
        // The leader of a shard has every entry that was ever committed.
        if (shard === 0 && leads) return "fork";
        waits = true;
      } else if (at < log.firstIndex() - 1) return "compacted";
      else if (log.term(at) !== terms[shard]) return "fork";
    }
    if (!waits) this.#lostSince = null;
    else if (leads && now - (this.#lostSince ??= now) > LOST_MS) return "fork";
    return waits ? "wait" : "none";
  }
}

export const GAP_REASONS = {
  fork: "the archive has entries that this cluster does not have: it was recovered without them",
  compacted: "the log no longer has the entries after the end of the archive: they were not shipped in time",
} as const;

export async function stateOf(node: ShippedNode): Promise<ShippedState> {
  for (;;) {
    const state = node.state();
    if (state !== null) return state;
    await nextTurn();
  }
}
