/** Entries of the conflict journal as `marmot conflicts` lists and shows them. */
import { asPeerId } from "../base/ids.ts";
import { decodeImage } from "../change/codec.ts";
import { UNSEEN_REASON } from "../rows/unseen-rows.ts";
import type { Image } from "../change/value.ts";
import type { StoredConflict } from "../replica/conflicts/journal.ts";
import type { Replicator } from "../replication/replicator.ts";
import type { ConflictDetail, ConflictSummary, ShownValue } from "./api.ts";
import { showKey, showValue } from "./literals.ts";

export const conflictId = (c: StoredConflict): string => `${c.shard}:${c.index}:${c.ordinal}`;

/** null: no conflict has this id, or the journal no longer keeps it. */
export function findConflict(replicator: Replicator, id: string): StoredConflict | null {
  const [shard, index, ordinal] = id.split(":").map(Number);
  if (![shard, index, ordinal].every(Number.isSafeInteger)) return null;
  return replicator.replica.replica.journal.get(shard!, index!, ordinal!);
}

export function conflictSummary(replicator: Replicator, conflict: StoredConflict): ConflictSummary {
  const { replica } = replicator.replica;
  const shape = replica.shapes.get(conflict.table);
  const nameOf = (hash: number): string => {
    const peer = replica.origins.peerOf(hash);
    return peer === "" ? "unknown" : replicator.peers.nameOf(asPeerId(peer));
  };
  return {
    id: conflictId(conflict),
    shard: conflict.shard,
    index: conflict.index,
    table: conflict.note?.table ?? shape?.name ?? `table ${conflict.table}`,
    key: shape === undefined ? String(conflict.keyId) : showKey(shape, conflict.keyId),
    // In the journal it stands beside rows that a schema change rejected, so that older nodes store the same.
    kind: conflict.note?.reason === UNSEEN_REASON ? "unseen write" : conflict.kind,
    losingOrigin: nameOf(conflict.losingOrigin),
    winningOrigin: nameOf(conflict.winningOrigin),
    time: conflict.time,
  };
}

export function conflictDetail(replicator: Replicator, conflict: StoredConflict): ConflictDetail {
  const shape = replicator.replica.replica.shapes.get(conflict.table);
  const image = (bytes: Uint8Array | null): ShownValue[] | null =>
    bytes === null ? null : decodeImage(bytes).map((v: Image[number]) => showValue(v));
  return {
    ...conflictSummary(replicator, conflict),
    columns: conflict.note?.columns ?? shape?.columns.map((c) => c.name) ?? [],
    losingImage: image(conflict.losingImage),
    winningImage: image(conflict.winningImage),
  };
}
