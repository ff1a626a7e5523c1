/**
 * What a running node offers to the admin room and, through its control socket, to the verbs. Field names of
 * `NodeStatus` are the stable contract of `marmot status --json`.
 */

export interface MemberStatus {
  readonly peerId: string;
  readonly name: string;
  readonly addresses: readonly string[];
  readonly role: "voter" | "learner" | "joining";
  readonly connected: boolean;
  /** Entries, summed over shards, that the member's replica is behind the newest known commit; null: unknown. */
  readonly lagEntries: number | null;
  /** null: not compared yet. */
  readonly checksumAgrees: boolean | null;
  /** Marmot's version there; "" while unknown. */
  readonly version: string;
}

export interface ShardStatus {
  readonly shard: number;
  readonly role: "leader" | "follower" | "candidate" | "learner";
  /** The leader's name; "" while there is none. */
  readonly leader: string;
  readonly term: number;
  readonly commitIndex: number;
  readonly appliedIndex: number;
  /** Own changes sent to this shard and not yet acknowledged. */
  readonly pendingChanges: number;
}

export interface SkippedTable {
  readonly name: string;
  readonly reason: string;
}

export interface NodeStatus {
  readonly node: {
    readonly id: number;
    readonly name: string;
    readonly peerId: string;
    readonly addresses: readonly string[];
    readonly version: string;
    readonly ready: boolean;
    /** Why it is not ready, in a sentence; "" when it is. */
    readonly waitingFor: string;
  };
  readonly cluster: {
    readonly id: string;
    readonly shards: number;
    readonly transactions: "whole" | "row";
    readonly schemaVersion: number;
    /** As the options spell them: "row,orders=column", "keep", "64". */
    readonly merge: string;
    readonly foreignKeys: "keep" | "resolve";
    readonly idBlock: string;
  };
  readonly members: readonly MemberStatus[];
  readonly shards: readonly ShardStatus[];
  readonly pending: { readonly changes: number; readonly bytes: number; readonly oldestMs: number };
  /** Entries of the journal; references that concurrent writes left dangling and that dangle now. */
  readonly conflicts: { readonly total: number; readonly orphans: number };
  /** Versions of SQLite: Marmot's own, and the application's as its file tells it; null: unknown. "" as warning: none. */
  readonly sqlite: { readonly marmot: string; readonly application: string | null; readonly warning: string };
  readonly tables: { readonly replicated: readonly string[]; readonly skipped: readonly SkippedTable[] };
  /** Long work under way (import, snapshot, catch-up); null when there is none. */
  readonly progress: ProgressStatus | null;
}

export interface ProgressStatus {
  /** "import", "snapshot", "catch-up", … */
  readonly work: string;
  readonly done: number;
  /** 0: unknown. */
  readonly total: number;
  readonly unit: "rows" | "bytes" | "entries";
  /** Estimated milliseconds left; null: unknown. */
  readonly remainingMs: number | null;
}

/** Counters and gauges for /metrics; names without the `marmot_` prefix. */
export interface Metric {
  readonly name: string;
  readonly help: string;
  readonly type: "counter" | "gauge";
  readonly samples: readonly { readonly labels?: Readonly<Record<string, string>>; readonly value: number }[];
}

export interface WaitResult {
  readonly done: boolean;
  /** What was still missing when the time ran out, in a sentence; "" when done. */
  readonly missing: string;
}

export interface VerifyDifference {
  /** "replica": two nodes' replicas differ; "file": a node's file differs from its replica. */
  readonly kind: "replica" | "file";
  readonly node: string;
  readonly table: string;
  /** The key as SQL literals; "" when only checksums were compared. */
  readonly key: string;
  readonly detail: string;
}

export interface VerifyResult {
  readonly equal: boolean;
  /** Position per shard at which replicas were compared. */
  readonly positions: readonly number[];
  /** Names of nodes that were compared. */
  readonly nodes: readonly string[];
  /** Members that could not be reached in time. */
  readonly missing: readonly string[];
  readonly rows: number;
  readonly differences: readonly VerifyDifference[];
}

/** A value with its storage class, as SQL would show it. */
export interface ShownValue {
  readonly type: "null" | "integer" | "real" | "text" | "blob";
  /** Decimal digits, text, or hex for a blob. */
  readonly text: string;
}

export interface ConflictSummary {
  readonly id: string;
  readonly shard: number;
  readonly index: number;
  readonly table: string;
  readonly key: string;
  /**
   * "concurrent write", "same key" (two inserts), "unique clash"; of references left dangling: "orphan" (kept), "cascaded",
   * "set null", "set default", "refused".
   */
  readonly kind: string;
  readonly losingOrigin: string;
  readonly winningOrigin: string;
  /** Wall clock of the winner's proposal, milliseconds since 1970: for people. */
  readonly time: number;
}

export interface ConflictDetail extends ConflictSummary {
  readonly columns: readonly string[];
  /** null: a delete. */
  readonly losingImage: readonly ShownValue[] | null;
  readonly winningImage: readonly ShownValue[] | null;
}

/** What `conflicts restore` did. */
export interface RestoreResult {
  /** The conflict's. */
  readonly id: string;
  readonly table: string;
  readonly columns: readonly string[];
  readonly done: "restored" | "deleted again" | "restored as new" | "nothing to do";
  /** The row's key as SQL literals; a fresh one after "restored as new". */
  readonly key: string;
  /** What stood under the key and was overwritten; null: nothing. */
  readonly replaced: readonly ShownValue[] | null;
  /** Rows that refer to a row restored as new by a declared foreign key. */
  readonly children: readonly {
    readonly table: string;
    readonly key: string;
    /** "moved": its reference was changed; "restored": it had lost, too; "left": as it is, for `reason`. */
    readonly done: "moved" | "restored" | "left";
    readonly newKey: string;
    readonly reason: string;
  }[];
}

/** All methods may be called at any time between start and stop. */
export interface NodeApi {
  status(): NodeStatus;
  /** null when ready; else the reason. */
  notReady(): string | null;
  metrics(): readonly Metric[];
  wait(options: { readonly all: boolean; readonly timeoutMs: number }): Promise<WaitResult>;
  verify(options: {
    readonly deep: boolean;
    readonly repair: boolean;
    readonly timeoutMs: number;
  }): Promise<VerifyResult>;
  conflicts(options: { readonly limit: number; readonly before?: string }): readonly ConflictSummary[];
  conflict(id: string): ConflictDetail | null;
  /** null: there is no such conflict. Rejects with `UserError` when it cannot be done; then nothing was written. */
  restore(
    id: string,
    options: { readonly asNew: boolean; readonly overwrite: boolean },
  ): Promise<RestoreResult | null>;
}
