/** Whether a catalogue that was put together works: SQLite makes it and compiles what it holds, without rows. */
import { foldName } from "../../base/names.ts";
import { queryOf } from "../../sqlite/query.ts";
import { quoteIdentifier } from "../../sqlite/quote.ts";
import type { SchemaObject } from "../../sqlite/schema.ts";
import { isVirtual, judgeTriggers } from "../user-triggers.ts";
import type { SchemaState } from "./change.ts";
import { createAll } from "./renamed-state.ts";
import { withScratch } from "./structure.ts";

export interface Broken {
  readonly object: SchemaObject;
  /** In SQLite's words. */
  readonly why: string;
  /** It cannot even be created; else it can, and fails when it is used. */
  readonly isRefused: boolean;
}

/** What does not work, by `keyOf`. What is virtual is not tried. */
export function brokenObjects({ objects }: SchemaState): Map<string, Broken> {
  const broken = new Map<string, Broken>();
  const add = (object: SchemaObject, why: string, isRefused = false): unknown =>
    broken.set(keyOf(object), { object, why, isRefused });
  withScratch((db) => {
    for (const [object, why] of createAll(db, objects)) if (!isVirtual(object)) add(object, why, true);
    const standing = queryOf(db)("SELECT type, name, tbl_name FROM sqlite_schema");
    const tables = new Map(
      standing.map(([kind, name, table]) => [
        keyOf({ kind: String(kind), name: String(name) }),
        String(table),
      ]),
    );
    for (const object of objects) {
      const table = tables.get(keyOf(object));
      if (table !== undefined && foldName(table) !== foldName(object.tableName))
        add(object, `it stands on ${table}, not on ${object.tableName}`, true);
      if (object.kind !== "view" || broken.has(keyOf(object))) continue;
      try {
        queryOf(db)(`SELECT 1 FROM main.${quoteIdentifier(object.name)} LIMIT 0`);
      } catch (error) {
        add(object, error instanceof Error ? error.message : String(error));
      }
    }
  });
  for (const { name, problem } of judgeTriggers(objects, []).byName.values())
    if (problem !== null && problem.reason.includes("does not compile")) {
      const object = objects.find((o) => o.kind === "trigger" && o.name === name);
      if (object !== undefined && !broken.has(keyOf(object))) add(object, problem.reason);
    }
  return broken;
}

export const keyOf = ({ kind, name }: { readonly kind: string; readonly name: string }): string =>
  `${kind} ${foldName(name)}`;
