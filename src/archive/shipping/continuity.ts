/** Whether the log of a node goes on where the archive ends. */
import { nextTurn } from "../../base/clock.ts";
import type { Link } from "../chain-link.ts";
import type { ShippedNode, ShippedState } from "./shipped.ts";

/** A leader waits so long for another node that has the entries, or for its own other shards. */
const LOST_MS = 60_000;

/** "wait": the node is behind, or has to ask later. "compacted": entries between are gone. "fork": the cluster does not have the entries. */
export type Answer = "none" | "wait" | "compacted" | "fork";

export class Continuity {
  readonly #patienceMs: number;
  #brokenSince: number | null = null;

  constructor(patienceMs = LOST_MS) {
    this.#patienceMs = patienceMs;
  }

  of(node: ShippedNode, { to, terms }: Link, leads: boolean, now: number): Answer {
    const found = look(node, { to, terms }, leads);
    if (found === "none" || found === "fork") {
      this.#brokenSince = null;
      return found;
    }
    const isLost = leads && now - (this.#brokenSince ??= now) > this.#patienceMs;
    return isLost ? (found === "wait" ? "fork" : "compacted") : "wait";
  }
}

function look(node: ShippedNode, { to, terms }: Pick<Link, "to" | "terms">, leads: boolean): Answer {
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
  return waits ? "wait" : "none";
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
