/** Brings a file to a new schema, rows and all. */
import type { DatabaseSync } from "node:sqlite";
import type { Value } from "../../change/value.ts";
import type { ColumnOrigin, LeftOutRow, SchemaChange, SchemaState } from "./change.ts";

export interface ApplyOptions {
  /** "live": the application's file, everything in it. "replica": only replicated tables and UNIQUE indexes exist. */
  readonly role: "live" | "replica";
  /** The catalogue before the changes. Needed for a replica; of a live file it is read. */
  readonly state?: SchemaState;
  /** Replica: whether a table that a change creates exists there. Default: all but virtual ones. */
  readonly replicates?: (table: string) => boolean;
  /**
   * Of rows that clash the one with the greatest rank stays, of equals the one with the greatest key. `key`: the primary
   * key's values before the change, or the rowid.
   */
  readonly rank?: (table: string, key: readonly Value[]) => number | bigint | string;
  readonly leftOut?: (row: LeftOutRow) => void;
}

export interface AppliedTable {
  readonly from: string | null;
  readonly to: string | null;
  readonly columns: readonly ColumnOrigin[];
  /** "renamed": name only; "altered": no row was written, or columns were dropped in place; "rebuilt": every row anew. */
  readonly method: "created" | "dropped" | "renamed" | "altered" | "rebuilt";
  /** Rows left out, by constraints or by UNIQUE indexes. */
  readonly leftOut: number;
}

export interface AppliedSchema {
  readonly state: SchemaState;
  readonly tables: readonly AppliedTable[];
  /** Live: names of tables whose capture is to be installed again, since all of Marmot's triggers on them were dropped. */
  readonly reinstall: readonly string[];
}

/** In a write transaction of the caller, on a connection without foreign-key enforcement and without open statements. */
export function applySchemaChanges(
  db: DatabaseSync,
  changes: readonly SchemaChange[],
  options: ApplyOptions,
): AppliedSchema {
  throw new Error(`to come: ${db.location()} ${changes.length} ${options.role}`);
}
