/** Checks whether a merged catalogue works: SQLite creates and compiles its objects in memory, without rows. */
import type { DatabaseSync } from "node:sqlite";
import { errorMessage } from "../../base/errors.ts";
import { foldName } from "../../base/names.ts";
import { openDatabase } from "../../sqlite/open.ts";
import { mentions } from "../../sqlite/ddl-text/index-text.ts";
import { queryOf } from "../../sqlite/query.ts";
import { quoteIdentifier } from "../../sqlite/quote.ts";
import type { SchemaObject } from "../../sqlite/schema.ts";
import { classifyTriggers } from "../triggers.ts";
import { isVirtual } from "../virtual-tables.ts";
import type { SchemaState } from "../diff/change.ts";
import { createAll, withScratch } from "../scratch.ts";

export interface Broken {
  readonly object: SchemaObject;
  /** SQLite's message. */
  readonly why: string;
  /** true: SQLite refuses to create it; false: it fails when it is used. */
  readonly isRefused: boolean;
}

/**
 * Objects that do not work, by `keyOf`. Virtual tables are not checked. A name in double quotes counts as a column, also if no
 * column has it any more: SQLite would take it for a text, which an index or a view would then contain. If a text was meant,
 * the same object is broken on one of the merged sides, too, and the caller compares.
 */
export function brokenObjects({ objects }: SchemaState): Map<string, Broken> {
  const broken = new Map<string, Broken>();
  const strict = openDatabase(":memory:", { doubleQuotedTexts: false });
  try {
    for (const found of brokenIn(strict, objects)) broken.set(keyOf(found.object), found);
  } finally {
    strict.close();
  }
  // A table with such a text, and its dependent objects, are checked in the mode that applications use.
  const tables = objects
    .filter((o) => o.kind === "table" && broken.has(keyOf(o)))
    .map((o) => foldName(o.name));
  if (tables.length > 0)
    withScratch((db) => {
      const known = new Map(brokenIn(db, objects).map((b) => [keyOf(b.object), b]));
      for (const object of objects) {
        const text = object.sql;
        if (!tables.some((t) => foldName(object.tableName) === t || mentions(text, t))) continue;
        const found = known.get(keyOf(object));
        if (found === undefined) broken.delete(keyOf(object));
        else broken.set(keyOf(object), found);
      }
    });
  for (const { name, compiles, problem } of classifyTriggers(objects, []).byName.values())
    if (!compiles && problem !== null) {
      const object = objects.find((o) => o.kind === "trigger" && o.name === name);
      if (object !== undefined && !broken.has(keyOf(object)))
        broken.set(keyOf(object), { object, why: problem.reason, isRefused: false });
    }
  return broken;
}

function brokenIn(db: DatabaseSync, objects: readonly SchemaObject[]): Broken[] {
  const broken: Broken[] = [];
  const refused = createAll(db, objects);
  for (const [object, why] of refused) if (!isVirtual(object)) broken.push({ object, why, isRefused: true });
  const created = queryOf(db)("SELECT type, name, tbl_name FROM sqlite_schema");
  const tables = new Map(
    created.map(([kind, name, table]) => [keyOf({ kind: String(kind), name: String(name) }), String(table)]),
  );
  for (const object of objects) {
    const table = tables.get(keyOf(object));
    const elsewhere = table !== undefined && foldName(table) !== foldName(object.tableName);
    if (elsewhere)
      broken.push({ object, why: `it belongs to ${table}, not to ${object.tableName}`, isRefused: true });
    if (object.kind !== "view" || elsewhere || refused.has(object)) continue;
    try {
      queryOf(db)(`SELECT 1 FROM main.${quoteIdentifier(object.name)} LIMIT 0`);
    } catch (error) {
      broken.push({ object, why: errorMessage(error), isRefused: false });
    }
  }
  return broken;
}

export const keyOf = ({ kind, name }: { readonly kind: string; readonly name: string }): string =>
  `${kind} ${foldName(name)}`;
