/** Entries of the conflict journal as `marmot conflicts` lists and shows them. */
import { asPeerId, type PeerId } from "../base/ids.ts";
import { foldName, isSameName } from "../base/names.ts";
import { decodeImage, encodeImage } from "../change/codec.ts";
import { keyIdOfImage } from "../change/key.ts";
import type { TableShape } from "../change/shape.ts";
import { UNSEEN_REASON } from "../rows/unseen-rows.ts";
import { type Image, valueEqual } from "../change/value.ts";
import type { ConflictState } from "../replica/conflicts/conflict-states.ts";
import type { StoredConflict } from "../replica/conflicts/journal.ts";
import type { OpenReplica } from "../replica/open-replica.ts";
import type { ConflictDetail, ConflictSummary, ShownValue } from "./api.ts";
import { showKey, showValue } from "./literals.ts";

/** The replica with its journal, and the names of nodes: of a running node, or from an archive. */
export interface ConflictSource {
  readonly replica: Pick<OpenReplica, "replica">;
  readonly peers: { nameOf(peer: PeerId): string };
}

export const conflictId = (c: StoredConflict): string => `${c.shard}:${c.index}:${c.ordinal}`;

/** null: no conflict has this id, or the journal no longer keeps it. */
export function findConflict(source: ConflictSource, id: string): StoredConflict | null {
  const [shard, index, ordinal] = id.split(":").map(Number);
  if (![shard, index, ordinal].every(Number.isSafeInteger)) return null;
  return source.replica.replica.journal.get(shard!, index!, ordinal!);
}

export function conflictSummary(source: ConflictSource, conflict: StoredConflict): ConflictSummary {
  const { replica } = source.replica;
  const shape = replica.shapes.get(conflict.table);
  const { shard, index, ordinal, losingOrigin, winningOrigin } = conflict;
  const state = replica.journal.states.of(shard, index, ordinal);
  const { name: losingName, peer: losingPeer } = peerOf(source, losingOrigin);
  const { name: winningName, peer: winningPeer } = peerOf(source, winningOrigin);
  return {
    id: conflictId(conflict),
    shard,
    index,
    table: conflict.note?.table ?? shape?.name ?? `table ${conflict.table}`,
    key: keyOf(conflict, replica.shapes),
    // In the journal it stands beside rows that a schema change rejected, so that older nodes store the same.
    kind: conflict.note?.reason === UNSEEN_REASON ? "unseen write" : conflict.kind,
    ...{ losingOrigin: losingName, winningOrigin: winningName, losingPeer, winningPeer },
    time: conflict.time,
    differing: differing(conflict, columnsOf(source, conflict)),
    state: state?.state ?? "open",
    settled: state === null ? null : settledBy(source, state),
  };
}

/** A row that is journalled under the name of its table: as a conflict of the table that has the name and all columns now. */
export function ofTable(conflict: StoredConflict, shapes: Iterable<TableShape>): StoredConflict {
  const { note, losingImage } = conflict;
  if (note === undefined || losingImage === null) return conflict;
  const shape = [...shapes].find((s) => isSameName(s.name, note.table));
  const values = new Map(decodeImage(losingImage).map((value, i) => [foldName(note.columns[i]!), value]));
  if (shape === undefined || !shape.columns.every((c) => values.has(foldName(c.name)))) return conflict;
  const image = shape.columns.map((c) => values.get(foldName(c.name))!);
  const keyId = keyIdOfImage(shape, image);
  return { ...conflict, table: shape.id, keyId, losingImage: encodeImage(image) };
}

/** "": no table has the row's columns now. */
function keyOf(conflict: StoredConflict, shapes: ReadonlyMap<number, TableShape>): string {
  const { table, keyId } = ofTable(conflict, shapes.values());
  const shape = shapes.get(table);
  if (shape !== undefined) return showKey(shape, keyId);
  return conflict.note === undefined ? String(keyId) : "";
}

function peerOf(source: ConflictSource, hash: number): { name: string; peer: string } {
  const peer = source.replica.replica.origins.peerOf(hash);
  return { peer, name: peer === "" ? "unknown" : source.peers.nameOf(asPeerId(peer)) };
}

function settledBy(source: ConflictSource, { by, time }: ConflictState): ConflictSummary["settled"] {
  const { name, peer } = peerOf(source, by);
  return { by: name, peer, time };
}

const columnsOf = (source: ConflictSource, { note, table }: StoredConflict): readonly string[] =>
  note?.columns ?? source.replica.replica.shapes.get(table)?.columns.map((c) => c.name) ?? [];

/** A unique clash has rows of two keys: only the columns that clash are of interest, and they are equal. */
function differing(conflict: StoredConflict, columns: readonly string[]): readonly string[] {
  const { losingImage, winningImage } = conflict;
  if (losingImage === null || winningImage === null) return [];
  const winning = decodeImage(winningImage);
  return decodeImage(losingImage).flatMap((value, i) =>
    columns[i] !== undefined && !valueEqual(value, winning[i] ?? null) ? [columns[i]] : [],
  );
}

export function conflictDetail(source: ConflictSource, conflict: StoredConflict): ConflictDetail {
  const image = (bytes: Uint8Array | null): ShownValue[] | null =>
    bytes === null ? null : decodeImage(bytes).map((v: Image[number]) => showValue(v));
  return {
    ...conflictSummary(source, conflict),
    columns: columnsOf(source, conflict),
    losingImage: image(conflict.losingImage),
    winningImage: image(conflict.winningImage),
  };
}
