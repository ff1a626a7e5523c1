/** The runtime's interface to the replicated state. */
import type { LogIndex } from "../base/ids.ts";
import type { Entry, SnapshotMetadata } from "../raft/model/types.ts";
import type { PeerId, ShardId } from "./seams.ts";

export interface StateMachine {
  /** Index and term of the shard's last entry that the state contains. */
  position(shard: ShardId): { readonly index: LogIndex; readonly term: number };
  /** The position up to which the state survives a power cut: the bound for compaction. */
  syncedPosition(shard: ShardId): LogIndex;
  /** Committed and locally durable entries in order, configuration changes included. May start before `position`. */
  committed(shard: ShardId, entries: readonly Entry[]): void;
  /**
   * A leader offers its state because its log no longer reaches back to this node's. Called again for each repeated
   * offer, until this node has installed a state and starts again with a log that begins there.
   */
  snapshotOffered(shard: ShardId, from: PeerId, metadata: SnapshotMetadata): void;
  /** Whether a peer may propose the data of an entry. Absent: it may. */
  mayPropose?(shard: ShardId, peer: PeerId, data: Uint8Array): boolean;
  /** A proposal for the shard's leader could not be sent. */
  proposalLost(shard: ShardId): void;
  /** The shard's leader changed; "" while there is none. */
  leaderChanged(shard: ShardId, leader: PeerId): void;
}
