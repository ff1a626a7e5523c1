/** Tables that `--tables` and `--exclude` leave out, and the objects that other nodes build nonetheless. */
import { foldName } from "../base/names.ts";
import { mentions } from "../sqlite/ddl-text/index-text.ts";
import type { SchemaObject } from "../sqlite/schema.ts";
import { shadowTablesOf } from "./virtual-tables.ts";

export interface Selection {
  /** null: all. */
  readonly tables: readonly string[] | null;
  readonly exclude: readonly string[];
}

export function isSelected({ tables, exclude }: Selection): (name: string) => boolean {
  const wanted = tables === null ? null : new Set(tables.map(foldName));
  const unwanted = new Set(exclude.map(foldName));
  return (name) => !unwanted.has(foldName(name)) && (wanted === null || wanted.has(foldName(name)));
}

/**
 * Without the tables that are left out, and without the objects on them. One that a view or a trigger of another table names
 * stays: the other nodes' applications would fail without it.
 */
export function builtElsewhere<T extends SchemaObject>(objects: readonly T[], selection: Selection): T[] {
  const chosen = isSelected(selection);
  const out = new Map(
    objects.flatMap((o) =>
      o.kind === "table" && !chosen(o.name) ? [[foldName(o.name), o.name] as const] : [],
    ),
  );
  for (let before = -1; before !== out.size;) {
    before = out.size;
    const texts = objects.flatMap((o) =>
      (o.kind === "view" || o.kind === "trigger") && !out.has(foldName(o.tableName)) ? [o.sql] : [],
    );
    for (const [key, name] of out) if (texts.some((text) => mentions(text, name))) out.delete(key);
  }
  const shadows = shadowTablesOf(
    objects,
    objects.filter((o) => out.has(foldName(o.name))),
  );
  return objects.filter(({ tableName }) => ![out, shadows].some((names) => names.has(foldName(tableName))));
}
