/** The part of a node's API that shows the past, and takes it back. */

export interface ChangesOptions {
  /** A position, a time, or how long ago; null: from now on. */
  readonly since: string | null;
  /** Names; null: all tables. */
  readonly tables: readonly string[] | null;
  /** Go on with entries that come later. */
  readonly follow: boolean;
}

/** An event of the change feed. */
export interface ChangeLine {
  /** "alive": a sign of life; "end": the stream ends, with a reason. */
  readonly kind: "transaction" | "schema" | "conflict" | "alive" | "end";
  /** A JSON object in one line. */
  readonly json: string;
  /** It is the last event of its position: a reader goes on after it. */
  readonly last: boolean;
  /** The position to go on after; "" unless `last`. */
  readonly position: string;
}

export interface ChangeStream {
  /** Resolves when there are events; null: there will be none. */
  next(): Promise<readonly ChangeLine[] | null>;
  close(): void;
}

export interface UndoOptions {
  /** The transaction at this position, or `SHARD:INDEX` as the feed names it. Excludes `since`. */
  readonly position: string | null;
  /** All after this position or time. */
  readonly since: string | null;
  /** Name or peer id of the node whose transactions are taken back; null: of all. */
  readonly origin: string | null;
  readonly table: string | null;
  /** Also rows that were changed afterwards. */
  readonly force: boolean;
  readonly dryRun: boolean;
}

export interface UndoneRow {
  readonly table: string;
  /** The key as SQL literals. */
  readonly key: string;
  readonly done: "inserted again" | "changed back" | "deleted";
}

export interface UndoResult {
  /** Nothing was written. */
  readonly dryRun: boolean;
  /** Transactions that are taken back. */
  readonly transactions: number;
  readonly tables: readonly { readonly table: string; readonly rows: number }[];
  /** The first 1,000 rows. */
  readonly rows: readonly UndoneRow[];
  /** Rows that stay as they are, with the reason; the first 1,000. */
  readonly left: readonly { readonly table: string; readonly key: string; readonly reason: string }[];
  readonly leftRows: number;
}

export interface WebhookStatus {
  readonly to: string;
  /** The position up to which every event is taken; "" before the first. */
  readonly position: string;
  readonly sent: number;
  readonly failures: number;
  /** Why the last attempt failed; "": it did not. */
  readonly error: string;
}

export interface ChangesApi {
  /** Rejects with `UserError` for a position or time that the history does not reach. */
  changes(options: ChangesOptions): Promise<ChangeStream>;
  /** Rejects with `UserError`; nothing is written then. */
  undo(options: UndoOptions): Promise<UndoResult>;
}
