/** The archive of a node as its feed and its undo read it: changes that the history does not have any more. */
import type { ChangeLine } from "../changes-api.ts";

export interface PastRange {
  /** A position, or a time with its zone. */
  readonly since: string;
  /** The position up to which changes are wanted. */
  readonly until: string;
}

export interface PastLines {
  /** Resolves with further events; null: all are told. Rejects with `UserError` if the archive cannot be read on. */
  next(): Promise<readonly ChangeLine[] | null>;
  close(): void;
}

export interface PastSource {
  /** The archive, for messages. */
  readonly to: string;
  /** Resolves when the archive is known to have the beginning of the range. Rejects with `UserError` if it has not. */
  lines(range: PastRange, tables: readonly string[] | null): Promise<PastLines>;
  /**
   * Records the range, or the one entry `SHARD:INDEX` or position, in a database as a history has it, and calls `use` with its path. The
   * database is removed afterwards. Rejects with `UserError` as above.
   */
  record<T>(of: PastRange | { readonly entry: string }, use: (path: string) => T | Promise<T>): Promise<T>;
}
