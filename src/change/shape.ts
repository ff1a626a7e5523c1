/** The shape of a table, as replication needs it: a plain value that `schema/` makes from the schema. */
import type { TableId } from "../base/ids.ts";

/** Built-in collations; a table whose key uses another is refused. */
export type Collation = "BINARY" | "NOCASE" | "RTRIM";

export type Affinity = "INTEGER" | "TEXT" | "BLOB" | "REAL" | "NUMERIC";

export interface ColumnShape {
  readonly name: string;
  readonly affinity: Affinity;
}

/** A UNIQUE constraint or index beside the key. */
export interface UniqueShape {
  readonly name: string;
  /** Expressions as SQL text, columns as quoted names, each with its COLLATE where it is not BINARY. */
  readonly terms: readonly UniqueTerm[];
  /** Verbatim text of a partial index's WHERE; null for a whole index. */
  readonly where: string | null;
}

export interface UniqueTerm {
  /** Index into `TableShape.columns`; null for an expression or a generated column. */
  readonly column: number | null;
  /** SQL text over the table's columns: the quoted name, or the expression verbatim. */
  readonly sql: string;
  readonly collation: string;
}

export interface TableShape {
  /** Stable over RENAME; never used again. */
  readonly id: TableId;
  readonly name: string;
  /** Stored columns in declaration order; of a table without a declared key its rowid comes first. */
  readonly columns: readonly ColumnShape[];
  /** Indexes into `columns` of the primary key's columns, in the order of the key. */
  readonly key: readonly number[];
  /** One per key column. */
  readonly keyCollations: readonly Collation[];
  readonly withoutRowid: boolean;
  /** The key is one INTEGER PRIMARY KEY column, or the rowid. */
  readonly integerKey: boolean;
  /** No key is declared: the rowid, `columns[0]`, identifies rows. SQLite picks it, and it may be redirected. */
  readonly rowidKey: boolean;
  /** … and it is declared AUTOINCREMENT: SQLite keeps the highest id ever picked in `sqlite_sequence`. */
  readonly autoincrement: boolean;
  readonly uniques: readonly UniqueShape[];
  /** All rows of the table go to one shard (it has a UNIQUE constraint beyond its key, or no declared key). */
  readonly routedByName: boolean;
}

/** The columns that the table's declaration names. */
export const declaredColumns = ({ columns, rowidKey }: TableShape): readonly ColumnShape[] =>
  rowidKey ? columns.slice(1) : columns;
