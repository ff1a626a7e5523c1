/** Finds the parts of this node's changes with which a merged schema does not work. */
import { foldName } from "../../base/names.ts";
import type { SchemaObject } from "../../sqlite/schema.ts";
import { mentions } from "../../sqlite/ddl-text/index-text.ts";
import type { SchemaState } from "../diff/change.ts";
import { type Broken, brokenObjects, keyOf } from "./check-state.ts";
import type { Merged } from "./merge-sides.ts";
import { lineageOf, type RejectedParts, type Sides } from "./sides.ts";

/** "again": parts were added to `parts`, so the merge must be repeated. "stuck": no part of ours alone is the cause. */
export function rejectBroken(
  sides: Sides,
  merged: Merged,
  parts: RejectedParts,
): "works" | "again" | "stuck" {
  const broken = brokenIn(merged.state);
  if (broken.size === 0) return "works";
  const [brokenThere, brokenHere] = [brokenObjects(sides.onto), brokenObjects(sides.appDb)];
  let isFound = false;
  let isStuck = false;
  for (const [key, { object, why, isRefused }] of broken) {
    const theirs = find(merged.theirs, key);
    const isTheirs = theirs !== undefined && theirs.sql === object.sql;
    const earlier = (isTheirs ? brokenThere : object.kind === "table" ? undefined : brokenHere)?.get(key);
    // It did not work before the merge either.
    if (earlier !== undefined && (earlier.isRefused || !isRefused)) continue;
    const reason = `it conflicts with schema changes of other nodes: ${why}`;
    const isOurs = !isTheirs && !parts.objects.has(key);
    const tables = changedTables(sides, merged, parts, object);
    if (isOurs && (object.kind !== "table" || find(merged.base, key) === undefined))
      parts.objects.set(key, reason);
    else if (tables.length > 0) for (const table of tables) parts.tables.set(table, reason);
    else {
      // An object that can be created but does not work is kept, as SQLite itself would keep it.
      isStuck ||= isRefused;
      continue;
    }
    isFound = true;
  }
  return isFound ? "again" : isStuck ? "stuck" : "works";
}

const find = ({ objects }: SchemaState, key: string): SchemaObject | undefined =>
  objects.find((o) => keyOf(o) === key);

function brokenIn(state: SchemaState): Map<string, Broken> {
  const broken = brokenObjects(state);
  for (const object of state.objects)
    if (/"__marmot__(?:lost|gone)_/.test(object.sql))
      broken.set(keyOf(object), { object, why: "it names a column that was rejected", isRefused: true });
  return broken;
}

/** Tables of the base, in lower case, that we changed and that the object belongs to or names. */
function changedTables(
  sides: Sides,
  { names }: Merged,
  parts: RejectedParts,
  object: SchemaObject,
): string[] {
  return names.flatMap((n) => {
    const base = foldName(n.base);
    if (parts.tables.has(base) || lineageOf(sides, base) === undefined) return [];
    const isNamed =
      foldName(n.common) === foldName(object.tableName) ||
      mentions(object.sql, n.common) ||
      mentions(object.sql, n.theirs ?? n.base);
    return isNamed ? [base] : [];
  });
}

/** Rejects our renames of tables to the names of rejected tables, which get their old names back. */
export function rejectNameTakers({ lineages }: Sides, rejected: Map<string, string>): void {
  for (let isFound = true; isFound;) {
    isFound = false;
    for (const { from, to } of lineages) {
      if (from === null || to === null || rejected.has(foldName(from)) || !rejected.has(foldName(to)))
        continue;
      rejected.set(foldName(from), "another table has that name again");
      isFound = true;
    }
  }
}
