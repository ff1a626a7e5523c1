/** Receives the replica of a peer as a snapshot. */
import { utf8 } from "../base/bytes.ts";
import type { Clock } from "../base/clock.ts";
import { errorMessage } from "../base/errors.ts";
import type { PeerId, Transport } from "../shard/seams.ts";
import type { SnapshotHeader } from "../snapshot/header.ts";
import { type Partial, readPartial } from "../snapshot/partial.ts";
import { receiveSnapshot } from "../snapshot/stream.ts";
import { type OnProgress, remainingMs } from "./work-progress.ts";

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

/** `COPY@OFFSET`; "@0": from the beginning of any copy. */
export const sharedRequest = (partial: Partial | null): string =>
  `${SHARED_REQUEST}${partial === null ? "@0" : `${partial.copy}@${partial.length}`}`;

/** null: not such a request. */
export function readSharedRequest(request: string): { readonly copy: string; readonly from: number } | null {
  const match = /^replica of ([\w-]{0,64})@(\d{1,15})$/.exec(request);
  return match === null ? null : { copy: match[1]!, from: Number(match[2]) };
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
  components: FetchReplicaComponents,
  signal: AbortSignal,
): Promise<SnapshotHeader> {
  const partial = readPartial(target);
  try {
    return await receive({ from, target, request: sharedRequest(partial), partial }, components, signal);
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
