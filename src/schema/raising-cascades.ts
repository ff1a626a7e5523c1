/**
 * Tables whose changes cascade to a table with a trigger that uses RAISE(FAIL). SQLite runs cascades before the other triggers of
 * the parent see its change; an application that goes on after such an error keeps that change, and nothing has captured it.
 */
import { foldName } from "../base/names.ts";
import type { Query } from "../sqlite/query.ts";
import type { SchemaObject } from "../sqlite/schema.ts";

const RAISES = /\bRAISE\s*\(\s*FAIL\b/i;

/** Parents by folded name ⇒ the table whose trigger may fail, by name. */
export function raisingCascades(query: Query, objects: readonly SchemaObject[]): Map<string, string> {
  const raising = new Map(
    objects.flatMap((o) =>
      o.kind === "trigger" && RAISES.test(o.sql) ? [[foldName(o.tableName), o.tableName] as const] : [],
    ),
  );
  const found = new Map<string, string>();
  if (raising.size === 0) return found;
  const links = query(
    `SELECT m.name, f."table" FROM main.sqlite_schema m, pragma_foreign_key_list(m.name) f
       WHERE m.type = 'table' AND (f.on_delete IN ('CASCADE', 'SET NULL', 'SET DEFAULT')
         OR f.on_update IN ('CASCADE', 'SET NULL', 'SET DEFAULT'))`,
  ) as [child: string, parent: string][];
  for (let before = -1; before !== found.size;) {
    before = found.size;
    for (const [child, parent] of links) {
      const failing = raising.get(foldName(child)) ?? found.get(foldName(child));
      if (failing !== undefined) found.set(foldName(parent), failing);
    }
  }
  return found;
}
