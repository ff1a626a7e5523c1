/** Triggers and views that a migration of an app database drops first, because they change or their table does. */
import { foldName } from "../../base/names.ts";
import type { SchemaObject } from "../../sqlite/schema.ts";
import { sameButReferences } from "../../sqlite/ddl-text/table-text.ts";
import type { SchemaState } from "../diff/change.ts";
import type { TableLineage } from "../diff/evolve.ts";
import type { Migration } from "./migration.ts";

/** Drops Marmot's triggers on every touched table, too: the caller installs them again, and they must be the youngest. */
export function dropTriggersAndViews(migration: Migration): void {
  if (!migration.isAppDb) return;
  const { before, after, file, lineages } = migration;
  // Where only a reference follows a renamed table, the capture triggers remain valid.
  const names = new Map(
    lineages.flatMap((l) =>
      l.from === null || onlyReferencesDiffer(migration, l) ? [] : [[foldName(l.from), l.to] as const],
    ),
  );
  const later = byKey(after);
  const isSame = (o: SchemaObject): boolean => {
    const now = later.get(keyOf(o));
    return now !== undefined && now.sql === o.sql && foldName(now.tableName) === foldName(o.tableName);
  };
  const earlier = byKey(before);
  const dropped = before.objects.filter((o) => (o.kind === "trigger" || o.kind === "view") && !isSame(o));
  const created = after.objects.filter(
    (o) => o.kind === "trigger" && !isSame(earlier.get(keyOf(o)) ?? { ...o, sql: "" }),
  );
  const changed = [...dropped, ...created, ...reorderedTriggers(before, after)];
  const touched = new Set([
    ...names.keys(),
    ...changed.filter((o) => o.kind === "trigger").map((o) => foldName(o.tableName)),
  ]);
  migration.dropOwn(
    (table) => touched.has(foldName(table)),
    (table) => (names.has(foldName(table)) ? names.get(foldName(table))! : table),
  );
  for (const { kind, name } of dropped)
    if (file.text(kind, name) !== null) file.drop(kind as "trigger" | "view", name);
}

const keyOf = ({ kind, name }: SchemaObject): string => `${kind} ${name}`;

const byKey = ({ objects }: SchemaState): Map<string, SchemaObject> =>
  new Map(objects.map((o) => [keyOf(o), o]));

function onlyReferencesDiffer({ before, tables }: Migration, { from, to, columns }: TableLineage): boolean {
  if (from === null || from !== to || columns.some(([column, old]) => column !== old)) return false;
  const object = before.objects.find((o) => o.kind === "table" && o.name === from);
  return object !== undefined && sameButReferences(object.sql, tables.get(foldName(to))!.sql);
}

/** Triggers with another place in the order. Reordering puts them behind Marmot's, which are not among the application's objects. */
function reorderedTriggers(before: SchemaState, after: SchemaState): SchemaObject[] {
  const order = (state: SchemaState): SchemaObject[] => state.objects.filter((o) => o.kind === "trigger");
  const [old, now] = [order(before), order(after)];
  return now.filter((o, i) => o.name !== old[i]?.name);
}
