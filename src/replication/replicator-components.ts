/** Settings of a replicator, and the services that it uses. */
import type { Clock } from "../base/clock.ts";
import type { Logger } from "../base/logger.ts";
import type { Random } from "../base/random.ts";
import type { Role } from "./members/role.ts";
import type { Epoch } from "../shard/epochs.ts";
import type { PeerId, Transport } from "../shard/seams.ts";
import type { SqliteVersion } from "../sqlite/versions/sqlite-version.ts";
import type { DataPaths } from "./machine/data-paths.ts";
import type { Host } from "./machine/host.ts";
import type { OnProgress } from "./machine/work-progress.ts";
import type { Measures } from "./measures/measures.ts";
import type { MemberChangesComponents } from "./members/member-changes.ts";
import type { MessageRouter } from "./messages/message-router.ts";

export interface ReplicatorOptions {
  readonly db: string;
  readonly paths: DataPaths;
  readonly peerId: PeerId;
  readonly name: string;
  readonly role: Role;
  /** Fingerprints of the cluster keys, the one to dial with first. */
  readonly keys?: readonly string[];
  /** Bytes of applied entries that are kept for the change feed and undo; absent or 0: none. */
  readonly historyBytes?: number;
  /** See `NodeOptions.replaceAfterMs`. */
  readonly replaceAfterMs?: number | undefined;
  /** See `NodeOptions.leaderFollowsWriter`. */
  readonly leaderFollowsWriter?: boolean | undefined;
  /** See `NodeOptions.limits`. */
  readonly keepEntries?: number;
  readonly logWalPages?: number;
  /** The SQLite with which the application wrote before this node did; null: unknown. */
  readonly applicationVersion?: SqliteVersion | null;
}

export interface ReplicatorComponents {
  readonly transport: Transport;
  readonly router: MessageRouter;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly host: Host;
  /** Of the whole life of the node. Default: of this replicator. */
  readonly measures?: Measures;
  readonly onProgress: OnProgress;
  readonly onFailure: (error: Error) => void;
  /** A newer replica is stored at `paths.nextReplica`: this replicator must be closed and opened again. */
  readonly onReplacement: () => void;
  /** See `MemberChangesComponents`. */
  readonly admitted?: MemberChangesComponents["admitted"];
  /** A peer refuses this node over an open connection. */
  readonly onRefused: (peer: PeerId, reason: string) => void;
  /** A later epoch of the cluster was met: this replicator must be closed. */
  readonly onSuperseded: (epochs: readonly Epoch[]) => void;
}
