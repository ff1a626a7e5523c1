/**
 * Whether a member may propose an entry: well-formed, of its own origin, and possible by the positions that this node knows.
 * An entry that no node could apply would halt all of them.
 */
import { HaltError } from "../../base/halt.ts";
import { decodeBatchHead, decodeTables, tablesIn } from "../../change/codec.ts";
import { readMarking } from "../../change/marking.ts";
import type { Replica } from "../../replica/replica.ts";
import { isOfEntry } from "../../replica/order/entry-fault.ts";
import { decodeSchemaEntry } from "../../schema/diff/schema-entry.ts";
import type { PeerId, ShardId } from "../../shard/seams.ts";

/** The proposer may know newer entries of other shards than this node. */
const AHEAD = 10_000;
const MAX_NOTE = 4096;

export interface ProposalView {
  readonly replica: Pick<Replica, "settings" | "shapes" | "touchesChanged">;
  /** The last index of a shard's log here. */
  readonly lastIndex: (shard: ShardId) => number;
}

export function isProposal(view: ProposalView, shard: ShardId, peer: PeerId, data: Uint8Array): boolean {
  try {
    return isPossible(view, shard, peer, data);
  } catch (error) {
    // A newer format is written only when each member reads it.
    if (error instanceof HaltError || isOfEntry(error)) return false;
    throw error;
  }
}

function isPossible(
  { replica, lastIndex }: ProposalView,
  shard: ShardId,
  peer: PeerId,
  data: Uint8Array,
): boolean {
  const { settings, shapes } = replica;
  const { names, marker, batch } = readMarking(data);
  if (marker !== null) return shard !== 0 && marker <= lastIndex(0);
  const areNamed = names.every((name, i) => name > (names[i - 1] ?? 0) && name < settings.shards);
  if (!areNamed || (names.length > 0 && shard !== 0)) return false;
  const head = decodeBatchHead(batch);
  if (head.origin !== peer || head.note.length > MAX_NOTE) return false;
  if (head.after.length > settings.shards || head.bases.some((base) => base.length > settings.shards))
    return false;
  if (head.after.some((index, other) => index > lastIndex(other) + AHEAD)) return false;
  if (head.schema !== undefined && head.schema.length > 0) decodeSchemaEntry(head.schema);
  tablesIn(head);
  // Rows of another schema are refused where they are ordered, unless their tables are the same.
  const { schemaVersion: now } = settings;
  const isRefused = head.schemaVersion > now || (head.schemaVersion < now && replica.touchesChanged(head));
  if (!isRefused && head.schema === undefined) decodeTables(head, (id) => shapes.get(id));
  return true;
}
