/** The options of `marmot run` after flags, environment and configuration file are merged and checked. */
import type { Keep } from "../archive/prune.ts";
import type { Role } from "../replication/members/role.ts";
import type { PerTable } from "../change/per-table.ts";
import type { ScanIntervals } from "../operations/scan/scans.ts";
import type { ForeignKeyMode, MergeMode } from "../replica/store/settings.ts";

export { type Role, ROLES } from "../replication/members/role.ts";
export { DEFAULT_ID_BLOCK } from "../replica/store/settings.ts";

export interface NodeOptions {
  /** The application's file. */
  readonly db: string;
  readonly dataDir: string;
  /** Multiaddrs to listen on. */
  readonly listen: readonly string[];
  readonly announce: readonly string[];
  readonly peers: readonly string[];
  readonly mdns: boolean;
  /** Unix group that may use the node, by name or number; null: none. */
  readonly group: string | null;
  /** Nodes that form a new cluster together; null: not given. */
  readonly bootstrapExpect: number | null;
  /** null: not given. A member keeps its name; a new node gets `hostName`. */
  readonly name: string | null;
  readonly hostName?: string;
  /** null: not given. A member keeps its role; a new node becomes a voter. */
  readonly role: Role | null;
  /** A file with the peers that may join. Absent: all with the key. */
  readonly admit?: string | null;
  /** Create an empty database if the file is missing and no peers are given. */
  readonly create: boolean;
  /** Do not refuse file systems on which SQLite's WAL cannot work. Default: false. */
  readonly unsafeFileSystem?: boolean;
  /** The key itself, if the environment gives it; else null. */
  readonly clusterKeyText: string | null;
  /** null: the default path in the data directory. */
  readonly clusterKeyFile: string | null;
  /** Cluster settings. null: not given; the setting of the cluster or the default applies. */
  readonly shards: number | null;
  readonly transactions: "whole" | "row" | null;
  readonly merge: PerTable<MergeMode> | null;
  readonly foreignKeys: ForeignKeyMode | null;
  readonly idBlock: PerTable<number> | null;
  readonly tables: readonly string[] | null;
  readonly exclude: readonly string[] | null;
  /** Functions of the application in JavaScript, and libraries with functions, collations and modules. Absent: none. */
  readonly functions?: string | null;
  readonly libraries?: readonly string[];
  /** Tables that are compared with the replica in the background. */
  readonly scan?: ScanIntervals;
  /** Bytes of applied entries that are kept for the change feed and undo; absent or 0: none. */
  readonly historyBytes?: number;
  /** A consumer of the change feed that gets each event by POST; absent or null: none. */
  readonly feed?: { readonly url: string; readonly secretFile: string | null } | null;
  /** A voter that is silent for so long gives its vote to a learner; 0: never. Absent: 10 minutes. */
  readonly replaceAfterMs?: number;
  /** Backups at regular times; absent or null: none. */
  readonly backups?: {
    /** A folder or prefix, with its slash. */
    readonly to: string;
    readonly everyMs: number;
    /** How long a backup is kept; null: without limit. The newest one always is. */
    readonly keepMs: number | null;
  } | null;
  /** Where the ordered entries are shipped; absent or null: nowhere. */
  readonly archive?: {
    /** DIR or s3://BUCKET/PREFIX. */
    readonly to: string;
    readonly intervalMs: number;
    readonly keep: Keep;
    /** null: it is not encrypted. */
    readonly keyFile: string | null;
    /** For tests only. */
    readonly limits?: { readonly copyLinks?: number; readonly mergeMs?: number };
  } | null;
  /** The leader of a shard moves to the voter that writes most to it. Absent: it does. */
  readonly leaderFollowsWriter?: boolean;
  /** For tests only, which set small values. See `RuntimeOptions` and `SqliteLogStore.open`. */
  readonly limits?: { readonly keepEntries: number; readonly logWalPages?: number };
}
