/**
 * What changed in a schema, as plain data that can travel. A list of changes is applied in its order; texts are exact,
 * as `sqlite_schema` keeps them, so that every file ends with the same bytes. What belongs to Marmot, to SQLite or to a
 * virtual table (its shadow tables) never occurs in it. The batch that carries a list says of which version it is.
 */
import type { Value } from "../../change/value.ts";
import type { SchemaObject } from "../../sqlite/schema.ts";

/** A column's name after the change, and the one before it whose values it takes; null: it is new. Stored columns only. */
export type ColumnOrigin = readonly [column: string, before: string | null];

/**
 * How a table was altered, as a hint at the price: "text" (no row is touched: a constraint, a default, a reference that
 * follows a renamed table, renamed columns, columns added at the end), "drop" (columns went away, the rest is as it was) or "rebuild" (every row is written
 * anew). What a file really needs is found out when it is changed, since its own columns may stand in another order.
 */
export type AlterMethod = "text" | "drop" | "rebuild";

export type SchemaChange =
  /** Also a virtual table: by its text; its shadow tables are made by SQLite. */
  | { readonly op: "createTable"; readonly name: string; readonly sql: string }
  /** Its indexes and triggers go with it, as SQLite does it, and the shadow tables of a virtual one. */
  | { readonly op: "dropTable"; readonly name: string }
  /** `sql`: its text afterwards. Indexes and triggers come along (`tableName`); where their text changes, a replace follows. */
  | { readonly op: "renameTable"; readonly name: string; readonly to: string; readonly sql: string }
  /** `sql`: its text afterwards. `columns`: all its stored columns afterwards. Indexes and triggers stay as they are. */
  | {
      readonly op: "alterTable";
      readonly name: string;
      readonly sql: string;
      readonly columns: readonly ColumnOrigin[];
      readonly method: AlterMethod;
    }
  /** "replace" keeps the object's place in the order. A view is its own `tableName`. */
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
  /** Among the places that the named objects of a kind take they stand in this order; names of none are skipped. */
  | { readonly op: "order"; readonly objects: readonly (readonly ["index" | "trigger", string])[] };

/** The part of `Catalogue` that changes. A `Catalogue` is one. */
export interface SchemaState {
  /** In the order of creation. */
  readonly objects: readonly SchemaObject[];
  readonly userVersion: number;
  readonly applicationId: number;
}

/**
 * What the trigger that never fires (`triggerName(id, "columns")`) says of a table after SQLite rewrote it:
 * how a table of the older catalogue is called now, and its stored columns, position by position.
 */
export interface Recorder {
  /** The table's name in the older catalogue. */
  readonly table: string;
  /** Its name now. */
  readonly now: string;
  /** The i-th was the i-th stored column of the older table; a name that the table no longer has was dropped. */
  readonly columns: readonly string[];
}

/** A change of this node that does not stand after all. */
export interface LostChange {
  readonly change: SchemaChange;
  /** In a sentence, for the journal and for people. */
  readonly reason: string;
  /** The table of the live file (by its present name) whose rows, or whose columns of them, go with it; null: no rows do. */
  readonly table: string | null;
  /** Which stored columns' values go; null: whole rows. */
  readonly columns: readonly string[] | null;
}

/** A row that a new constraint leaves no room for. */
export interface RejectedRow {
  /** The table's name before and after. */
  readonly from: string;
  readonly table: string;
  /** Stored columns as they were before the change, and their values with exact storage classes. */
  readonly columns: readonly string[];
  readonly values: readonly Value[];
  /** null: the table has none. */
  readonly rowid: bigint | null;
  /** The constraint, in a sentence. */
  readonly reason: string;
  /** Key, as `rank` is asked with it, of the row that stays in its place; null: none does; "unknown": one that is not told. */
  readonly gaveWayTo: readonly Value[] | "unknown" | null;
}
