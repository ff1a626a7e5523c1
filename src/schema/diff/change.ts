/**
 * Schema changes as plain data that can travel. A list of changes is applied in its order. Texts are exactly those of
 * `sqlite_schema`, so that every file ends with the same bytes. Objects of Marmot and of SQLite, and shadow tables of virtual
 * tables, never occur in a list. The batch that carries a list contains its schema version.
 */
import type { Value } from "../../change/value.ts";
import type { SchemaObject } from "../../sqlite/schema.ts";

/** A column's name after the change, and the older column whose values it takes; null: it is new. Stored columns only. */
export type ColumnOrigin = readonly [column: string, before: string | null];

/**
 * How a table was altered, as an estimate of the cost. "text": no row is touched (a constraint, a default, a reference that
 * follows a renamed table, renamed columns, columns added at the end). "drop": only columns were dropped. "rebuild": every row
 * is written again. Each file decides by itself when it is changed, since its columns may have another order.
 */
export type AlterMethod = "text" | "drop" | "rebuild";

export type SchemaChange =
  /** Also a virtual table; SQLite creates its shadow tables. */
  | { readonly op: "createTable"; readonly name: string; readonly sql: string }
  /** SQLite drops its indexes and triggers with it, and the shadow tables of a virtual table. */
  | { readonly op: "dropTable"; readonly name: string }
  /** `sql`: its text afterwards. Its indexes and triggers follow (`tableName`); where their text changes, a replace comes later. */
  | { readonly op: "renameTable"; readonly name: string; readonly to: string; readonly sql: string }
  /** `sql`: its text afterwards. `columns`: all its stored columns afterwards. Indexes and triggers do not change. */
  | {
      readonly op: "alterTable";
      readonly name: string;
      readonly sql: string;
      readonly columns: readonly ColumnOrigin[];
      readonly method: AlterMethod;
    }
  /** "replace" keeps the object's place in the order. The `tableName` of a view is its own name. */
  | {
      readonly op: "create" | "replace";
      readonly kind: "index" | "view" | "trigger";
      readonly name: string;
      readonly tableName: string;
      readonly sql: string;
    }
  | { readonly op: "drop"; readonly kind: "index" | "view" | "trigger"; readonly name: string }
  | { readonly op: "userVersion"; readonly value: number }
  | { readonly op: "applicationId"; readonly value: number }
  /** The named objects of a kind change places among themselves to get this order. Names without an object are skipped. */
  | { readonly op: "order"; readonly objects: readonly (readonly ["index" | "trigger", string])[] };

/** The part of a `Catalogue` that changes can change. */
export interface SchemaState {
  /** In the order of creation. */
  readonly objects: readonly SchemaObject[];
  readonly userVersion: number;
  readonly applicationId: number;
}

/**
 * Records renames: a trigger that never fires (`triggerName(id, "columns")`) names the table and its stored columns, and SQLite
 * rewrites it whenever one of them is renamed.
 */
export interface Recorder {
  /** The table's name in the older catalogue. */
  readonly table: string;
  /** Its name now. */
  readonly now: string;
  /** The i-th was the i-th stored column of the older table. A name that the table no longer has: the column was dropped. */
  readonly columns: readonly string[];
}

/** A schema change of this node that the rebase rejected. */
export interface RejectedChange {
  readonly change: SchemaChange;
  /** In a sentence, for the journal and for people. */
  readonly reason: string;
  /** The table of the app database, by its present name, whose rows or columns are rejected with it; null: none. */
  readonly table: string | null;
  /** Stored columns whose values are rejected; null: whole rows. */
  readonly columns: readonly string[] | null;
}

/** A row that a new constraint rejects. */
export interface RejectedRow {
  /** The table's name before and after. */
  readonly from: string;
  readonly table: string;
  /** Stored columns as they were before the change, and their values with exact storage classes. */
  readonly columns: readonly string[];
  readonly values: readonly Value[];
  /** null: the table has no rowid. */
  readonly rowid: bigint | null;
  /** The constraint, in a sentence. */
  readonly reason: string;
  /** Key (as `rank` gets it) of the row that is kept in its place; null: there is none; "unknown": SQLite does not name it. */
  readonly gaveWayTo: readonly Value[] | "unknown" | null;
}
