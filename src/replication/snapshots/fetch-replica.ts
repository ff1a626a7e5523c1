/** Receives the replica of a peer as a snapshot. */
import { utf8 } from "../../base/bytes.ts";
import type { Clock } from "../../base/clock.ts";
import { errorMessage } from "../../base/errors.ts";
import type { LogIndex, ShardId } from "../../base/ids.ts";
import type { PeerId, Transport } from "../../shard/seams.ts";
import type { SnapshotHeader } from "../../snapshot/header.ts";
import { type Partial, readPartial } from "../../snapshot/partial.ts";
import { receiveSnapshot } from "../../snapshot/stream.ts";
import { type OnProgress, remainingMs } from "../machine/work-progress.ts";

/** The request for a new copy, which cannot be continued: all builds know it. */
export const REPLICA_REQUEST = "replica";
/** Begins the request for a copy that other receivers share; the rest names the part that is here already. */
export const SHARED_REQUEST = "replica of ";
/** The answer of an older build. */
const UNKNOWN = /there is no transfer called/;

export interface FetchReplicaComponents {
  readonly transport: Transport;
  readonly clock: Clock;
  readonly onProgress: OnProgress;
}

/** The entry that a receiver needs at least. */
export interface Needed {
  readonly shard: ShardId;
  readonly index: LogIndex;
}

export interface SharedRequest {
  readonly copy: string;
  readonly from: number;
  readonly needed: Needed | null;
}

/** `COPY@OFFSET`, "@0": from the beginning of any copy; then the shard and the index of `needed`. */
export const sharedRequest = (partial: Partial | null, needed: Needed | null): string =>
  `${SHARED_REQUEST}${partial === null ? "@0" : `${partial.copy}@${partial.length}`}` +
  (needed === null ? "" : ` with ${needed.shard}:${needed.index}`);

/** null: not such a request. */
export function readSharedRequest(request: string): SharedRequest | null {
  const match = /^replica of ([\w-]{0,64})@(\d{1,15})(?: with (\d{1,3}):(\d{1,15}))?$/.exec(request);
  if (match === null) return null;
  const needed = match[3] === undefined ? null : { shard: Number(match[3]), index: Number(match[4]) };
  return { copy: match[1]!, from: Number(match[2]), needed };
}

/** Writes the replica of the peer `from`, as it is now or later, to the file `target`. */
export function fetchFreshReplica(
  from: PeerId,
  target: string,
  components: FetchReplicaComponents,
  signal: AbortSignal,
): Promise<SnapshotHeader> {
  return receive({ from, target, request: REPLICA_REQUEST, partial: null }, components, signal);
}

/** The same, but an interrupted transfer is continued, and the sender may share its copy with other receivers. */
export async function fetchReplica(
  from: PeerId,
  target: string,
  components: FetchReplicaComponents & { readonly needed?: Needed },
  signal: AbortSignal,
): Promise<SnapshotHeader> {
  const partial = readPartial(target);
  const request = sharedRequest(partial, components.needed ?? null);
  try {
    return await receive({ from, target, request, partial }, components, signal);
  } catch (error) {
    if (!UNKNOWN.test(errorMessage(error))) throw error;
    return fetchFreshReplica(from, target, components, signal);
  }
}

interface Fetch {
  readonly from: PeerId;
  readonly target: string;
  readonly request: string;
  readonly partial: Partial | null;
}

function receive(
  { from, target, request, partial }: Fetch,
  { transport, clock, onProgress }: FetchReplicaComponents,
  signal: AbortSignal,
): Promise<SnapshotHeader> {
  const start = clock.now();
  let began: number | null = null;
  const chunks = transport.transfer(from, utf8(request), signal);
  return receiveSnapshot(chunks, target, partial, (done, total) => {
    began ??= done;
    const spent = clock.now() - start;
    onProgress({
      work: "snapshot",
      done,
      total,
      unit: "bytes",
      remainingMs: remainingMs(spent, done - began, total - began),
      perSecond: spent > 0 ? ((done - began) / spent) * 1000 : null,
    });
  });
}
