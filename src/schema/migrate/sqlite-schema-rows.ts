/**
 * Writes to `sqlite_schema` itself, as https://www.sqlite.org/lang_altertable.html §7 describes: texts with the same structure,
 * and the order of objects. In a transaction of the caller; a rollback undoes it like any other write.
 */
import type { DatabaseSync } from "node:sqlite";
import { assert } from "../../base/assert.ts";
import { queryOf } from "../../sqlite/query.ts";
import type { SchemaObject } from "../../sqlite/schema.ts";
import { withoutShadowTables } from "../virtual-tables.ts";

/**
 * Runs `work` on a connection on which ALTER TABLE changes one table only: SQLite neither rewrites nor checks views, triggers
 * and references of other tables. Afterwards the connection has its former settings and is defensive.
 */
export function alone<T>(db: DatabaseSync, work: () => T): T {
  const query = queryOf(db);
  const flag = (name: string): number => Number(query(`PRAGMA ${name}`)[0]![0]);
  assert(db.isTransaction, "a schema is changed within a transaction");
  assert(flag("foreign_keys") === 0, "a schema is changed without enforcing foreign keys");
  const legacy = flag("legacy_alter_table");
  const ignoring = flag("ignore_check_constraints");
  db.enableDefensive(false);
  try {
    db.exec("PRAGMA legacy_alter_table = ON; PRAGMA ignore_check_constraints = ON");
    // With it ALTER TABLE ignores errors in other objects.
    db.exec("PRAGMA writable_schema = ON");
    return work();
  } finally {
    db.exec("PRAGMA writable_schema = OFF");
    db.exec(`PRAGMA legacy_alter_table = ${legacy}; PRAGMA ignore_check_constraints = ${ignoring}`);
    db.enableDefensive(true);
  }
}

/**
 * Puts the application's objects into this order. Other objects follow in their present order, so Marmot's triggers remain the
 * youngest. The automatic indexes of a table keep their place behind it. False: nothing had to be moved.
 */
export function reorder(db: DatabaseSync, objects: readonly SchemaObject[]): boolean {
  const rows = queryOf(db)("SELECT rowid, type, name, tbl_name FROM main.sqlite_schema ORDER BY rowid").map(
    ([rowid, type, name, table]) => ({
      rowid: Number(rowid),
      key: `${String(type)} ${String(name)}`,
      inner: String(name).startsWith("sqlite_autoindex_") ? String(table) : null,
    }),
  );
  const byKey = new Map(rows.map((r) => [r.key, r]));
  const inner = Map.groupBy(
    rows.filter((r) => r.inner !== null),
    (r) => r.inner!,
  );
  const wanted = withoutShadowTables(objects).flatMap(({ kind, name }) => {
    const row = byKey.get(`${kind} ${name}`);
    if (row === undefined) return [];
    return kind === "table" ? [row, ...(inner.get(name) ?? [])] : [row];
  });
  const members = new Set(wanted);
  // A newly created object is last. Only for indexes and triggers the order has an effect.
  const isInOrder = (kind: string): boolean => {
    const of = (list: readonly (typeof rows)[number][]) =>
      list.filter((r) => r.key.startsWith(kind) && members.has(r));
    const list = of(wanted);
    return of(rows).every((r, i) => r === list[i]);
  };
  if (isInOrder("index ") && isInOrder("trigger ")) return false;
  const all = [...wanted, ...rows.filter((r) => !members.has(r))];
  const first = all.findIndex((r, i) => r !== rows[i]);
  let next = rows.at(-1)!.rowid;
  const move = db.prepare("UPDATE main.sqlite_schema SET rowid = ? WHERE rowid = ?");
  for (const { rowid } of all.slice(first)) move.run(++next, rowid);
  return true;
}
