/** Shadow tables: made and dropped by SQLite with their virtual table, so no change ever names one. */
import { foldName } from "../../base/names.ts";
import type { SchemaObject } from "../../sqlite/schema.ts";
import { isVirtual } from "../triggers.ts";

/** Of the modules that SQLite brings along: https://www.sqlite.org/vtab.html#xshadowname */
const SUFFIXES: readonly (readonly [RegExp, readonly string[]])[] = [
  [/^fts5$/i, ["data", "idx", "content", "docsize", "config"]],
  [/^fts[34]$/i, ["content", "segments", "segdir", "docsize", "stat"]],
  [/^(?:rtree|rtree_i32|geopoly)$/i, ["node", "rowid", "parent"]],
];

const moduleOf = (sql: string): string => /\bUSING\s+["'`[]?(\w+)/i.exec(sql)?.[1] ?? "";

/** The catalogue's objects but for shadow tables and what stands on them. */
export function withoutWithheld(objects: readonly SchemaObject[]): SchemaObject[] {
  const shadows = new Set<string>();
  for (const object of objects) {
    if (object.kind !== "table" || !isVirtual(object)) continue;
    const suffixes = SUFFIXES.find(([module]) => module.test(moduleOf(object.sql)))?.[1] ?? [];
    for (const suffix of suffixes) shadows.add(foldName(`${object.name}_${suffix}`));
  }
  return shadows.size === 0 ? [...objects] : objects.filter((o) => !shadows.has(foldName(o.tableName)));
}
