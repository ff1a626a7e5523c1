/**
 * The interface of a running node for the admin API and, through the control socket, for the commands. The field names of
 * `NodeStatus` are the stable contract of `marmot status --json`.
 */
import type { ArchiveStatus } from "./archive-api.ts";
import type { ChangesApi, WebhookStatus } from "./changes-api.ts";
import type {
  ConflictDetail,
  ConflictFilter,
  ConflictSummary,
  DismissResult,
  RestoreAllResult,
  RestoreResult,
} from "./conflicts-api.ts";
import type { Role } from "../replication/members/role.ts";
import type { ProgressStatus } from "../replication/machine/work-progress.ts";

export type {
  ConflictDetail,
  ConflictFilter,
  ConflictSummary,
  DismissResult,
  RestoreAllResult,
  RestoreResult,
  ShownValue,
} from "./conflicts-api.ts";
export type { ProgressStatus };

export interface MemberStatus {
  readonly peerId: string;
  readonly name: string;
  readonly addresses: readonly string[];
  readonly role: Role;
  readonly connected: boolean;
  /** Shards that it leads. */
  readonly leads: readonly number[];
  /** Committed entries, summed over shards, that the member had not applied when it was last heard; null: unknown. */
  readonly lagEntries: number | null;
  /** Age of the oldest of them; null: unknown. */
  readonly lagMs: number | null;
  /** Milliseconds since its last message; 0 for this node, null: none came since the start. */
  readonly lastSeenMs: number | null;
  /** Of a ping and its answer; null: not measured. */
  readonly roundTripMs: number | null;
  /** null: not compared yet. */
  readonly checksumAgrees: boolean | null;
  /** The version of Marmot that the member runs; "" while unknown. */
  readonly version: string;
  /** Fingerprints of the cluster keys that it accepts, the one that it dials with first; empty while unknown. */
  readonly keys: readonly string[];
}

export interface ShardStatus {
  readonly shard: number;
  readonly role: "leader" | "follower" | "candidate" | "learner";
  /** Name of the leader; "" while there is none. */
  readonly leader: string;
  readonly term: number;
  readonly commitIndex: number;
  readonly appliedIndex: number;
  /** Changes of this node that are proposed to this shard and not yet acknowledged. */
  readonly pendingChanges: number;
}

export interface SkippedTable {
  readonly name: string;
  readonly reason: string;
}

export type Level = "ok" | "warn" | "bad";

/** A thing to look at. */
export interface Finding {
  readonly level: Level;
  readonly text: string;
  /** Completes the text with advice; "": none. */
  readonly advice: string;
  /** A command that helps; "": none. */
  readonly command: string;
}

export interface HealthVerdict {
  /** The worst of the findings. */
  readonly level: Level;
  /** `shop.db on node-1: ready · 3 of 3 voters in touch · may lose 1 · pending 0`. */
  readonly text: string;
  /** The gravest first. */
  readonly findings: readonly Finding[];
}

export interface VerifiedStatus {
  /** Milliseconds since 1970. */
  readonly at: number;
  readonly agoMs: number;
  readonly equal: boolean;
  /** Every voter was compared. */
  readonly complete: boolean;
  readonly rows: number;
  /** Nodes that were compared. */
  readonly nodes: number;
}

export interface NodeStatus {
  readonly node: {
    readonly id: number;
    readonly name: string;
    /** Path of the application's file. */
    readonly file: string;
    readonly peerId: string;
    readonly addresses: readonly string[];
    readonly version: string;
    readonly ready: boolean;
    /** "ready", "waiting", or the name of a halt: the node does not replicate until its cause is removed. */
    readonly state: string;
    /** The reason, as a sentence, while the node is not ready; "" when it is ready. */
    readonly waitingFor: string;
    /** The file of the cluster key; "": the environment. */
    readonly keyFile: string;
    readonly uptimeMs: number;
  };
  /** The state in a sentence, and the things to do. */
  readonly verdict: HealthVerdict;
  /** `mayLose`: voters that may fail with a majority left; −1: there is no majority. */
  readonly quorum: { readonly voters: number; readonly inTouch: number; readonly mayLose: number };
  readonly cluster: {
    readonly id: string;
    /** Counts the times that the cluster was recovered without its majority. */
    readonly epoch: number;
    readonly shards: number;
    readonly transactions: "whole" | "row";
    readonly schemaVersion: number;
    /** In the syntax of the options: "row,orders=column", "keep", "64". */
    readonly merge: string;
    readonly foreignKeys: "keep" | "resolve";
    readonly idBlock: string;
    /** Tells cluster keys apart without showing them. */
    readonly keyFingerprint: string;
  };
  readonly members: readonly MemberStatus[];
  readonly shards: readonly ShardStatus[];
  /** Connections that this node or the peer refused within the last minutes, and why. */
  readonly refusals: readonly {
    readonly peerId: string;
    /** "" while unknown. */
    readonly name: string;
    readonly by: "this node" | "peer";
    readonly reason: string;
    /** Milliseconds since the last one. */
    readonly ageMs: number;
  }[];
  /** Formats of which an older version is written, because of the named members. */
  readonly formats: readonly {
    readonly name: string;
    readonly writes: number;
    readonly newest: number;
    readonly heldBackBy: readonly string[];
  }[];
  /** Pairs of running nodes that do not reach each other, by name. */
  readonly unreached: readonly { readonly from: string; readonly to: string; readonly reason: string }[];
  readonly pending: { readonly changes: number; readonly bytes: number; readonly oldestMs: number };
  /**
   * Entries of the conflict journal, and those that wait for a decision; `orphans`: references that concurrent writes left
   * dangling and that still dangle.
   */
  readonly conflicts: { readonly total: number; readonly open: number; readonly orphans: number };
  /** The last `verify` on this node since its start; null: none. */
  readonly verified: VerifiedStatus | null;
  /** Versions of SQLite: Marmot's own, and the application's as its file tells it; null: unknown. "" as warning: none. */
  readonly sqlite: { readonly marmot: string; readonly application: string | null; readonly warning: string };
  /** `held`: tables of the cluster that this node cannot show or send completely now; they are in `skipped`, too. */
  readonly tables: {
    readonly replicated: readonly string[];
    readonly skipped: readonly SkippedTable[];
    readonly held: readonly SkippedTable[];
  };
  /** The consumer of the change feed; null: none. */
  readonly feed: WebhookStatus | null;
  /** Backups at regular times; null: none are made. */
  readonly backups: BackupStatus | null;
  /** The archive; null: there is none. */
  readonly archive: ArchiveStatus | null;
  /** Long work in progress (an import, a snapshot); null: none. */
  readonly progress: ProgressStatus | null;
}

export interface BackupStatus {
  readonly to: string;
  readonly everyMs: number;
  readonly keepMs: number | null;
  readonly running: boolean;
  /** Wall-clock time of the newest complete backup, and its position; null: none is known. */
  readonly lastAt: number | null;
  readonly lastPosition: string | null;
  /** Failures since the start, and the reason of the last one; "" after a success. */
  readonly failures: number;
  readonly error: string;
}

export type MemberAction = "remove" | "promote" | "demote" | "rename" | "transfer";

/** A metric of `/metrics`; its name without the prefix `marmot_`. */
export interface Metric {
  readonly name: string;
  readonly help: string;
  readonly type: "counter" | "gauge" | "histogram";
  readonly samples: readonly {
    /** Of a histogram: `_bucket`, `_sum` or `_count`. */
    readonly suffix?: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly value: number;
  }[];
}

/** A turn in the life of node or cluster. */
export interface NodeEvent {
  /** Rises by one from event to event of a process. */
  readonly id: number;
  /** Milliseconds since 1970. */
  readonly time: number;
  readonly level: "info" | "warn" | "error";
  /** "ready", "leader", "peer", "refused", "member", "snapshot", "schema", "conflict", "disk", "file", "halt", "verify", … */
  readonly kind: string;
  readonly message: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

export interface Latency {
  readonly p50Ms: number;
  readonly p99Ms: number;
}

export interface HistorySample {
  /** Milliseconds since 1970. */
  readonly at: number;
  readonly ready: boolean;
  readonly pending: number;
  /** Rows of this node that were sent, and entries of all nodes that were applied. */
  readonly rowsPerSecond: number;
  readonly entriesPerSecond: number;
  /** A commit here until it is ordered; a commit on another node until it is shown here. null: there was none. */
  readonly ordered: Latency | null;
  readonly shown: Latency | null;
  /** Entries that a member lacks, by its name; null: unknown. */
  readonly lag: Readonly<Record<string, number | null>>;
}

/** The last hour. */
export interface NodeHistory {
  readonly stepMs: number;
  readonly samples: readonly HistorySample[];
  /** Of the last minute. */
  readonly ordered: Latency | null;
  readonly shown: Latency | null;
}

export interface TableStatus {
  readonly name: string;
  /** null: unknown. */
  readonly rows: number | null;
  readonly isEstimate: boolean;
}

export interface WaitResult {
  readonly done: boolean;
  /** The condition that was not met when the time ran out, as a sentence; "" when done. */
  readonly missing: string;
  /**
   * A position as one text: of a wait for own writes, the position at which all of them are ordered; of a wait for a
   * position, the one that this file shows. "" while there is none.
   */
  readonly position: string;
}

export interface WaitOptions {
  readonly all: boolean;
  readonly timeoutMs: number;
  /** Wait for this position instead of this file's own writes; null: for the writes. */
  readonly position: string | null;
  /** With a position: until this file shows it, not only until it is ordered. */
  readonly here: boolean;
}

export interface VerifyDifference {
  /** "replica": the replicas of two nodes differ; "file": the application's file differs from the replica beside it. */
  readonly kind: "replica" | "file";
  readonly node: string;
  readonly table: string;
  /** The key as SQL literals; "" when only checksums were compared. */
  readonly key: string;
  readonly detail: string;
}

export interface VerifyResult {
  readonly equal: boolean;
  /** Log index per shard at which the replicas were compared. */
  readonly positions: readonly number[];
  /** Names of the nodes that were compared. */
  readonly nodes: readonly string[];
  /** Every voter answered. */
  readonly complete: boolean;
  /** Names of the members that did not answer in time, or did not compare their files. */
  readonly missing: readonly string[];
  /** The same with the reason. */
  readonly notCompared: readonly { readonly node: string; readonly reason: string }[];
  readonly rows: number;
  /** Rows of this node's file that no trigger saw, and that are ordered now. */
  readonly published: number;
  /** Rows of this node's file that are the replica's again. */
  readonly repaired: number;
  readonly differences: readonly VerifyDifference[];
}

/** The effects of `marmot repair`. */
export interface FileRepair {
  readonly file: string;
  /** The old file; null: there was none. */
  readonly before: string | null;
  /** Rows that only the old file had. */
  readonly rows: readonly { readonly table: string; readonly rows: number }[];
  /** So many of them go into the conflict journal. */
  readonly journalled: number;
  readonly unreadable: readonly { readonly table: string; readonly reason: string }[];
}

/** The effects of `marmot members recover`, or its plan. */
export interface Recovery {
  /** False: the plan alone. */
  readonly done: boolean;
  readonly node: string;
  /** Number of the new epoch of the cluster. */
  readonly epoch: number;
  /** Names of the members that are none afterwards. */
  readonly leaves: readonly string[];
  /** Names of the learners that stay, if their logs agree with this node's. */
  readonly stays: readonly string[];
  /** Per shard, the last entry of this node's log: later ones are lost. */
  readonly lastEntries: readonly number[];
  /** Entries among them that this node does not know to be confirmed; they are kept. */
  readonly unconfirmed: number;
}

/** Every method may be called at any time between start and stop. */
export interface NodeApi extends ChangesApi {
  status(): NodeStatus;
  /** null: the node is ready; else the reason, as a sentence. */
  notReady(): string | null;
  /** The newest first. `after`: only those with a larger id. */
  events(options: { readonly limit: number; readonly after: number }): readonly NodeEvent[];
  metrics(): readonly Metric[];
  history(): NodeHistory;
  /** The replicated tables with their rows. */
  tables(): Promise<readonly TableStatus[]>;
  /** Rejects with `UserError` for a text that is no position of this cluster. */
  wait(options: WaitOptions): Promise<WaitResult>;
  /** The position that the application's file shows; null: the node does not replicate now. */
  position(): string | null;
  /** Resolves when the change is in force. Rejects with `UserError` when it is refused, or has no majority. */
  changeMember(action: MemberAction, name: string, to?: string): Promise<void>;
  /** Makes this node the only voter of a new epoch, when the majority is lost. `plan`: only says the effects. */
  recover(options: { readonly plan: boolean }): Promise<Recovery>;
  verify(options: {
    readonly deep: boolean;
    readonly repair: boolean;
    /** Orders the file's version of rows that no trigger saw. `table`: of one table; null: of all. */
    readonly publish: { readonly table: string | null } | null;
    readonly timeoutMs: number;
  }): Promise<VerifyResult>;
  /** Rejects with `UserError` unless the node is halted because of its file. */
  repair(): Promise<FileRepair>;
  /** The newest first. Throws `UserError` for a table, node or time that is none. */
  conflicts(options: ConflictFilter & { readonly limit: number }): readonly ConflictSummary[];
  /** One conflict, or all open ones of a filter. null: no conflict has this id. Resolves when that is ordered. */
  dismiss(id: string | ConflictFilter): Promise<DismissResult | null>;
  /** Restores the open conflicts of a table in which a node's write lost. */
  restoreAll(options: {
    readonly table: string;
    readonly from: string;
    readonly overwrite: boolean;
    readonly dryRun: boolean;
  }): Promise<RestoreAllResult>;
  conflict(id: string): ConflictDetail | null;
  /** null: no conflict has this id. Rejects with `UserError` if the restore is impossible; nothing is written then. */
  restore(
    id: string,
    options: { readonly asNew: boolean; readonly overwrite: boolean },
  ): Promise<RestoreResult | null>;
}
