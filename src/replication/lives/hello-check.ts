/**
 * Whether a peer may speak: it must not be an older state of itself, a copy of a process that still runs, or a member that
 * was removed. Raft tolerates a crash; it does not tolerate a member that forgets its votes and entries. Pure.
 */
import { UPDATE } from "../../base/versions/formats.ts";
import { isLater, type PeerLife } from "../../log-store/peer-memory.ts";
import type { Life } from "../messages/control-messages.ts";

/**
 * twice: another process with the same identity is connected; went-back: a later life of the member was seen;
 * log-lost: the log lacks acknowledged entries or a term; removed: the member id left the configuration; update: its cluster
 * uses formats that the node does not read.
 */
export const LIFE_REFUSALS = ["twice", "went-back", "log-lost", "removed"] as const;
type LifeRefusal = (typeof LIFE_REFUSALS)[number];
const REFUSALS = [...LIFE_REFUSALS, UPDATE] as const;
export type RefusalCode = (typeof REFUSALS)[number];

/** A link over which a frame came within this time is alive: a link sends one each second. */
const ALIVE_MS = 2500;

export interface Knowledge {
  /** The latest life of the peer that this node has met. */
  readonly known: PeerLife | null;
  /** The nonce of the process that this node accepted last: it may have promised more since its hello. */
  readonly accepted: string | null;
  /** The nonce at the other end of another open link of the peer; null: no such link, or an older build. */
  readonly linked: { readonly nonce: string; readonly silentMs: number } | null;
  /** Milliseconds since this process was first asked to come back because of that link; null: it was not. */
  readonly deferredMs: number | null;
  /** The member id left the configuration. */
  readonly isRemoved: (life: Life) => boolean;
  /** The log has all that the member ever acknowledged to this node. */
  readonly keepsPromises: (life: Life) => boolean;
}

/** "later": the old connection of the peer may be about to end. */
export function checkLife(
  nonce: string,
  life: Life | null,
  knowledge: Knowledge,
): LifeRefusal | "later" | null {
  const { known, linked, deferredMs } = knowledge;
  if (life !== null && knowledge.isRemoved(life)) return "removed";
  const isOld = life !== null && known !== null && nonce !== known.nonce && !isLater(life, known);
  if (linked !== null && linked.nonce !== nonce && linked.silentMs <= ALIVE_MS) {
    const isAliveSince = deferredMs !== null && deferredMs > ALIVE_MS + linked.silentMs;
    return isOld || isAliveSince ? "twice" : "later";
  }
  if (isOld) return "went-back";
  const isNewProcess = life !== null && nonce !== knowledge.accepted;
  return isNewProcess && !knowledge.keepsPromises(life) ? "log-lost" : null;
}

const REASONS: Readonly<Record<LifeRefusal, string>> = {
  twice: "another process with the identity of this node is connected: the node runs twice",
  "went-back":
    "a later start of this node was seen: its data directory is an older copy, and its votes are not the last ones",
  "log-lost": "the log of this node lacks entries or votes that it had acknowledged",
  removed: "this node was removed from the cluster",
};

/** The text travels to the refused node, which reads the code from it. */
export const refusalText = (code: LifeRefusal): string => `${code}: ${REASONS[code]}`;

/** null: a refusal for another reason. */
export function readRefusal(text: string): { readonly code: RefusalCode; readonly reason: string } | null {
  const code = REFUSALS.find((name) => text.startsWith(`${name}: `));
  if (code === undefined) return null;
  return { code, reason: code === UPDATE ? text.slice(UPDATE.length + 2) : REASONS[code] };
}
