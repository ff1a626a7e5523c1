/** Declared foreign keys between replicated tables, as positions in their images. Keys that SQLite calls a mismatch are not included. */
import { foldName } from "../base/names.ts";
import type { TableShape } from "../change/shape.ts";
import type { Query } from "../sqlite/query.ts";

export type ForeignKeyAction = "NO ACTION" | "RESTRICT" | "CASCADE" | "SET NULL" | "SET DEFAULT";

export interface ForeignKey {
  /** Its index among its table's foreign keys, in the order of declaration. */
  readonly number: number;
  readonly child: TableShape;
  /** Indexes into the child's columns; the i-th refers to the i-th of `parentColumns`. */
  readonly columns: readonly number[];
  readonly parent: TableShape;
  readonly parentColumns: readonly number[];
  /** Collations of the parent columns; SQLite compares by them. */
  readonly collations: readonly string[];
  readonly onDelete: ForeignKeyAction;
  /** All its columns allow NULL. */
  readonly nullable: boolean;
  /** The SQL text of its columns' defaults. */
  readonly defaults: readonly string[];
  /** For each column of `parent.key` its index in `columns`; null: the foreign key refers to another UNIQUE constraint. */
  readonly keyOrder: readonly number[] | null;
}

/** In the order of `shapes`, then of declaration. */
export function readForeignKeys(query: Query, shapes: Iterable<TableShape>): ForeignKey[] {
  const all = [...shapes];
  const byName = new Map(all.map((s) => [foldName(s.name), s]));
  const declared = readDeclared(query);
  return all.flatMap((child) => {
    const rows = declared.get(foldName(child.name)) ?? [];
    const keys: ForeignKey[] = [];
    let number = 0;
    for (const id of new Set(rows.map((r) => r[0]))) {
      const parts = rows.filter((r) => r[0] === id);
      const parent = byName.get(foldName(parts[0]![1]));
      const found = parent === undefined ? null : resolveForeignKey(query, { number, child, parent, parts });
      if (found !== null) keys.push(found);
      number++;
    }
    return keys;
  });
}

type DeclaredPart = [
  id: number,
  table: string,
  from: string,
  to: string | null,
  onDelete: ForeignKeyAction,
  onUpdate: ForeignKeyAction,
];

/** Rows of `PRAGMA foreign_key_list` by table in lower case, in the order of declaration. */
export function readDeclared(query: Query): Map<string, DeclaredPart[]> {
  const rows = query(
    `SELECT m.name, f.id, f."table", f."from", f."to", f.on_delete, f.on_update
       FROM main.sqlite_schema m, pragma_foreign_key_list(m.name) f
       WHERE m.type = 'table' ORDER BY m.name, f.id DESC, f.seq`,
  ) as [string, ...DeclaredPart][];
  const declared = new Map<string, DeclaredPart[]>();
  for (const [name, ...part] of rows) {
    const parts = declared.get(foldName(name));
    if (parts === undefined) declared.set(foldName(name), [part]);
    else parts.push(part);
  }
  return declared;
}

interface DeclaredKey {
  readonly number: number;
  readonly child: TableShape;
  readonly parent: TableShape;
  /** One per column. */
  readonly parts: readonly DeclaredPart[];
}

/** null: SQLite would call it a mismatch. */
function resolveForeignKey(query: Query, { number, child, parent, parts }: DeclaredKey): ForeignKey | null {
  const place = (shape: TableShape, name: string): number =>
    shape.columns.findIndex((c) => foldName(c.name) === foldName(name));
  const columns = parts.map((p) => place(child, p[2]));
  const named = parts.every((p) => p[3] !== null);
  const parentColumns = named ? parts.map((p) => place(parent, p[3]!)) : [...parent.key];
  // An image has no generated columns.
  if (columns.includes(-1) || parentColumns.includes(-1) || columns.length !== parentColumns.length)
    return null;
  if (parent.rowidKey && parentColumns.includes(0)) return null; // a foreign key cannot refer to a rowid
  const onDelete = parts[0]![4];
  const declared = new Map(
    query(`SELECT name, "notnull", dflt_value FROM pragma_table_info(?)`, child.name).map((r) => [r[0], r]),
  );
  const infos = columns.map((c) => declared.get(child.columns[c]!.name)!);
  const nullable = infos.every((i) => Number(i[1]) === 0);
  const defaults = infos.map((i) => String(i[2] ?? "NULL"));
  const common = { number, child, columns, parent, parentColumns, onDelete, nullable, defaults };
  const same = (other: readonly (number | null)[]): boolean =>
    other.length === parentColumns.length && parentColumns.every((c) => other.includes(c));
  if (same(parent.key)) {
    const keyOrder = parent.key.map((k) => parentColumns.indexOf(k));
    const collations = parentColumns.map((c) => parent.keyCollations[parent.key.indexOf(c)]!);
    return { ...common, collations, keyOrder };
  }
  const unique = parent.uniques.find((u) => u.where === null && same(u.terms.map((t) => t.column)));
  if (unique === undefined) return null;
  const collations = parentColumns.map((c) => unique.terms.find((t) => t.column === c)!.collation);
  return { ...common, collations, keyOrder: null };
}
