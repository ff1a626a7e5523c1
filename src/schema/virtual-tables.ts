/** Virtual tables and their shadow tables: SQLite creates and drops the latter with the former, so no schema change names one. */
import { foldName } from "../base/names.ts";
import type { SchemaObject } from "../sqlite/schema.ts";

export const isVirtual = (object: { readonly sql: string }): boolean =>
  /^\s*CREATE\s+VIRTUAL\b/i.test(object.sql);

/** The tables in an order in which they can be created: a virtual table creates its shadow tables itself. */
export function tablesInOrder<T extends SchemaObject>(objects: readonly T[]): T[] {
  const tables = objects.filter((o) => o.kind === "table");
  return [...tables.filter((o) => isVirtual(o)), ...tables.filter((o) => !isVirtual(o))];
}

/** Shadow tables of the modules that SQLite includes: https://www.sqlite.org/vtab.html#xshadowname */
const SUFFIXES: readonly (readonly [RegExp, readonly string[]])[] = [
  [/^fts5$/i, ["data", "idx", "content", "docsize", "config"]],
  [/^fts[34]$/i, ["content", "segments", "segdir", "docsize", "stat"]],
  [/^(?:rtree|rtree_i32|geopoly)$/i, ["node", "rowid", "parent"]],
];

const moduleOf = (sql: string): string => /\bUSING\s+["'`[]?(\w+)/i.exec(sql)?.[1] ?? "";

/** Folded names of the tables in which virtual tables keep their content. */
export function shadowTablesOf(objects: readonly SchemaObject[]): Set<string> {
  const shadows = new Set<string>();
  for (const object of objects) {
    if (object.kind !== "table" || !isVirtual(object)) continue;
    const suffixes = SUFFIXES.find(([module]) => module.test(moduleOf(object.sql)))?.[1] ?? [];
    for (const suffix of suffixes) shadows.add(foldName(`${object.name}_${suffix}`));
  }
  return shadows;
}

/** The objects without shadow tables and without the indexes and triggers on them. */
export function withoutShadowTables(objects: readonly SchemaObject[]): SchemaObject[] {
  const shadows = shadowTablesOf(objects);
  return shadows.size === 0 ? [...objects] : objects.filter((o) => !shadows.has(foldName(o.tableName)));
}
