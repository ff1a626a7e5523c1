/** Receives the replica of a peer as a snapshot. */
import { utf8 } from "../base/bytes.ts";
import type { Clock } from "../base/clock.ts";
import type { PeerId, Transport } from "../shard/seams.ts";
import type { SnapshotHeader } from "../snapshot/header.ts";
import { receiveSnapshot } from "../snapshot/stream.ts";
import { type OnProgress, remainingMs } from "./work-progress.ts";

/** The request that opens the transfer of a replica. */
export const REPLICA_REQUEST = "replica";

export interface FetchReplicaComponents {
  readonly transport: Transport;
  readonly clock: Clock;
  readonly onProgress: OnProgress;
}

/** Writes the replica of the peer `from` to the file `target`. */
export async function fetchReplica(
  from: PeerId,
  target: string,
  { transport, clock, onProgress }: FetchReplicaComponents,
  signal: AbortSignal,
): Promise<SnapshotHeader> {
  const start = clock.now();
  return receiveSnapshot(transport.transfer(from, utf8(REPLICA_REQUEST), signal), target, (done, total) =>
    onProgress({
      work: "snapshot",
      done,
      total,
      unit: "bytes",
      remainingMs: remainingMs(clock.now() - start, done, total),
    }),
  );
}
