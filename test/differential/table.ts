/** What the drawing of statements knows of a table. */
import type { Kind } from "./words.ts";

export interface ColumnInfo {
  readonly name: string;
  readonly kind: Kind;
  readonly notNull: boolean;
  /** NOT NULL with a default: under REPLACE that takes the place of NULL. */
  readonly defaulted?: boolean;
  /** It accepts no value of a statement. */
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
   * The rows have the same scan order on every node: by key, or by replicated rowids. Otherwise they are scanned by
   * hidden rowids, which differ between files. Then the effect of a statement over several rows may depend on the
   * file, so only single rows are written.
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
