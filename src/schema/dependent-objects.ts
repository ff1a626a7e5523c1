/**
 * Views and triggers that work only where certain tables are. SQLite itself says which: on an empty copy of the schema with
 * these tables they compile, on one without them they do not.
 */
import { foldName } from "../base/names.ts";
import { quoteIdentifier } from "../sqlite/quote.ts";
import type { SchemaObject } from "../sqlite/schema.ts";
import { observeTriggers } from "./observe-triggers.ts";
import { createAll, withScratch } from "./scratch.ts";

/** `absent`: names of tables in lower case. Objects on the tables themselves are not among the result. */
export function dependentObjects(
  objects: readonly SchemaObject[],
  absent: ReadonlySet<string>,
): SchemaObject[] {
  if (absent.size === 0) return [];
  const here = objects.filter((o) => !absent.has(foldName(o.tableName)));
  const views = broken(objects, here, brokenViews);
  const lost = new Set(views.map((o) => foldName(o.name)));
  const onViews = here.filter((o) => o.kind === "trigger" && lost.has(foldName(o.tableName)));
  const left = here.filter((o) => !views.includes(o) && !onViews.includes(o));
  return [...views, ...onViews, ...broken(objects, left, brokenTriggers)];
}

/** Those of `some` that do not compile without the rest of `all`. */
function broken(
  all: readonly SchemaObject[],
  some: readonly SchemaObject[],
  find: (objects: readonly SchemaObject[]) => SchemaObject[],
): SchemaObject[] {
  const without = find(some);
  if (without.length === 0) return [];
  const anyway = new Set(find(all));
  return without.filter((o) => !anyway.has(o));
}

const brokenTriggers = (objects: readonly SchemaObject[]): SchemaObject[] =>
  objects.some((o) => o.kind === "trigger")
    ? observeTriggers(objects).flatMap(({ object, error }) => (error === "" ? [] : [findIn(objects, object)]))
    : [];

/** The observation of an equal schema may name equal objects. */
const findIn = (objects: readonly SchemaObject[], { kind, name }: SchemaObject): SchemaObject =>
  objects.find((o) => o.kind === kind && o.name === name)!;

function brokenViews(objects: readonly SchemaObject[]): SchemaObject[] {
  const views = objects.filter((o) => o.kind === "view");
  if (views.length === 0) return [];
  return withScratch((db) => {
    createAll(
      db,
      objects.filter((o) => o.kind === "table" || o.kind === "view"),
    );
    return views.filter(({ name }) => {
      try {
        db.prepare(`SELECT * FROM main.${quoteIdentifier(name)}`);
        return false;
      } catch {
        return true;
      }
    });
  });
}
