/** Conflicts as a node's API shows them, and the effects of restoring and dismissing them. */

/** A value with its storage class. */
export interface ShownValue {
  readonly type: "null" | "integer" | "real" | "text" | "blob";
  /** Decimal digits, text, or hexadecimal digits for a blob. */
  readonly text: string;
}

export interface ConflictSummary {
  readonly id: string;
  readonly shard: number;
  readonly index: number;
  readonly table: string;
  readonly key: string;
  /**
   * "concurrent write", "same key" (two inserts), "unique clash", "schema clash", "unseen write" (no trigger saw it); for
   * dangling references: "orphan" (kept), "cascaded", "set null", "set default", "refused".
   */
  readonly kind: string;
  readonly losingOrigin: string;
  readonly winningOrigin: string;
  /** Peer ids of the two; "" if unknown. */
  readonly losingPeer: string;
  readonly winningPeer: string;
  /** Wall-clock time of the winning proposal in milliseconds since 1970: for display only. */
  readonly time: number;
  /** Columns in which the two rows differ; empty if one of them is a delete. */
  readonly differing: readonly string[];
  readonly state: "open" | "restored" | "dismissed";
  /** The node on which it was restored or dismissed, and the time; null while it is open. */
  readonly settled: { readonly by: string; readonly peer: string; readonly time: number } | null;
}

export interface ConflictDetail extends ConflictSummary {
  readonly columns: readonly string[];
  /** null: the losing change was a delete. */
  readonly losingImage: readonly ShownValue[] | null;
  readonly winningImage: readonly ShownValue[] | null;
}

/** The effects of `marmot conflicts restore`. */
export interface RestoreResult {
  /** Id of the conflict. */
  readonly id: string;
  readonly table: string;
  readonly columns: readonly string[];
  readonly done: "restored" | "deleted again" | "restored as new" | "nothing to do";
  /** The key of the row as SQL literals; a new key after "restored as new". */
  readonly key: string;
  /** The row that was overwritten; null: there was none. */
  readonly replaced: readonly ShownValue[] | null;
  /** Rows that refer to a row restored as new through a declared foreign key. */
  readonly children: readonly {
    readonly table: string;
    readonly key: string;
    /** "moved": its reference was changed; "restored": it had lost too and is back; "left": unchanged, because of `reason`. */
    readonly done: "moved" | "restored" | "left";
    readonly newKey: string;
    readonly reason: string;
  }[];
}

export interface ConflictFilter {
  /** null: of all tables. */
  readonly table: string | null;
  /** A time, how long ago, or a position; null: all that are kept. */
  readonly since: string | null;
  /** Name or peer id of the node whose write lost; null: any. */
  readonly origin: string | null;
  readonly open: boolean;
}

export interface DismissResult {
  /** Ids of the conflicts that are dismissed by this call. */
  readonly dismissed: readonly string[];
}

/** The effects of `marmot conflicts restore --table T --from NODE`. */
export interface RestoreAllResult {
  /** Nothing was written. */
  readonly dryRun: boolean;
  readonly restored: readonly Pick<RestoreResult, "id" | "table" | "key" | "done">[];
  readonly left: readonly {
    readonly id: string;
    readonly table: string;
    readonly key: string;
    readonly reason: string;
  }[];
}
