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
  [/^(?:fts5vocab|fts4aux|fts3tokenize|dbstat|sqlite_dbpage|sqlite_stmt)$/i, []],
];

const moduleOf = (sql: string): string => /\bUSING\s+["'`[]?(\w+)/i.exec(sql)?.[1] ?? "";

/**
 * Folded names of the tables of `objects` in which the virtual tables `of` keep their content. A module of an extension,
 * as sqlite-vec's, could tell the names of its shadow tables, but only the application has it. All tables that are called
 * after such a virtual table, with `_` and more, are taken for its own.
 */
export function shadowTablesOf(
  objects: readonly SchemaObject[],
  of: readonly SchemaObject[] = objects,
): Set<string> {
  const shadows = new Set<string>();
  for (const virtual of of) {
    if (virtual.kind !== "table" || !isVirtual(virtual)) continue;
    const prefix = foldName(`${virtual.name}_`);
    const known = SUFFIXES.find(([module]) => module.test(moduleOf(virtual.sql)));
    if (known !== undefined) for (const suffix of known[1]) shadows.add(prefix + suffix);
    else
      for (const { kind, name, sql } of objects)
        if (kind === "table" && foldName(name).startsWith(prefix) && !isVirtual({ sql }))
          shadows.add(foldName(name));
  }
  return shadows;
}

/** The objects without shadow tables and without the indexes and triggers on them. */
export function withoutShadowTables(objects: readonly SchemaObject[]): SchemaObject[] {
  const shadows = shadowTablesOf(objects);
  return shadows.size === 0 ? [...objects] : objects.filter((o) => !shadows.has(foldName(o.tableName)));
}
