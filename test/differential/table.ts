/** What the drawing of statements knows of a table. */
import type { Kind } from "./words.ts";

export interface ColumnInfo {
  readonly name: string;
  readonly kind: Kind;
  readonly notNull: boolean;
  /** NOT NULL with a default: under REPLACE that takes the place of NULL. */
  readonly defaulted?: boolean;
  /** Takes no value of its own. */
  readonly generated: boolean;
  /** No key, constraint, index, reference or trigger has to do with it: any order of writes gives the same. */
  readonly free: boolean;
}

export interface TableInfo {
  readonly name: string;
  readonly columns: readonly ColumnInfo[];
  readonly strict: boolean;
  readonly withoutRowid: boolean;
  /** Names of the declared key's columns; empty: none. */
  readonly key: readonly string[];
  /** The key column that is the rowid. */
  readonly rowid: string | null;
  readonly autoincrement: boolean;
  /** Rows may come without a key, which SQLite then picks. Never after the highest rowid of all: it would pick by chance. */
  readonly picks: boolean;
  /**
   * Its rows are scanned in the same order on every node: that of the key, or, without one, that of rowids which travel. Else
   * in that of hidden rowids, which belong to each file:
   * what a statement about several rows does may then depend on the file, and only single rows are written.
   */
  readonly ordered: boolean;
  /** Columns of each plain UNIQUE constraint or index. */
  readonly uniques: readonly (readonly string[])[];
  /**
   * A full-text index has this table's rows: without `recursive_triggers` REPLACE would leave removed rows in the index,
   * in plain SQLite, too.
   */
  readonly searched: boolean;
  /** A key column may be NULL, as SQLite has it; a row with such a key cannot be replicated and is never written. */
  readonly nullableKey: boolean;
}

export interface ViewInfo {
  readonly name: string;
  readonly columns: readonly ColumnInfo[];
  /** Has INSTEAD OF triggers. */
  readonly writable: boolean;
}
