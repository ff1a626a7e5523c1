/**
 * Tables whose changes cascade to a table with a trigger that uses RAISE(FAIL). SQLite runs cascades before the capture triggers
 * of the parent. An application that continues after such an error keeps the change of the parent, but it is not captured.
 */
import { foldName } from "../../base/names.ts";
import type { Query } from "../../sqlite/query.ts";
import type { SchemaObject } from "../../sqlite/schema.ts";
import { readDeclared } from "../foreign-keys.ts";

/** Actions that change rows of the child. */
const WRITES: ReadonlySet<string> = new Set(["CASCADE", "SET NULL", "SET DEFAULT"]);
const RAISES = /\bRAISE\s*\(\s*FAIL\b/i;

/** Folded name of the parent ⇒ name of the table whose trigger may fail. */
export function raisingCascades(query: Query, objects: readonly SchemaObject[]): Map<string, string> {
  const raising = new Map(
    objects.flatMap((o) =>
      o.kind === "trigger" && RAISES.test(o.sql) ? [[foldName(o.tableName), o.tableName] as const] : [],
    ),
  );
  const found = new Map<string, string>();
  if (raising.size === 0) return found;
  const links = [...readDeclared(query)].flatMap(([child, parts]) =>
    parts.flatMap(([, parent, , , onDelete, onUpdate]) =>
      WRITES.has(onDelete) || WRITES.has(onUpdate) ? [[child, foldName(parent)] as const] : [],
    ),
  );
  for (let before = -1; before !== found.size;) {
    before = found.size;
    for (const [child, parent] of links) {
      const failing = raising.get(child) ?? found.get(child);
      if (failing !== undefined) found.set(parent, failing);
    }
  }
  return found;
}
