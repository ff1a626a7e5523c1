/** A catalogue under other names: SQLite itself renames, in memory, and rewrites what refers to them. */
import { foldName } from "../../base/names.ts";
import type { DatabaseSync } from "node:sqlite";
import { queryOf } from "../../sqlite/query.ts";
import { quoteIdentifier } from "../../sqlite/quote.ts";
import type { SchemaObject } from "../../sqlite/schema.ts";
import type { SchemaState } from "../diff/change.ts";
import { withScratch } from "../diff/alter-plan.ts";

/** Present names, in lower case ⇒ names wanted. */
export interface Renaming {
  readonly tables: ReadonlyMap<string, string>;
  /** By the table's present name in lower case. */
  readonly columns: ReadonlyMap<string, ReadonlyMap<string, string>>;
}

const real = (names: ReadonlyMap<string, string> | undefined): [string, string][] =>
  [...(names ?? [])].filter(([from, to]) => from !== foldName(to));

/** Creates what can be created; gives the objects that SQLite refused, with its words. */
export function createAll(db: DatabaseSync, objects: readonly SchemaObject[]): Map<SchemaObject, string> {
  const refused = new Map<SchemaObject, string>();
  for (const kind of ["table", "index", "view", "trigger"] as const)
    for (const object of objects) {
      if (object.kind !== kind) continue;
      try {
        db.exec(object.sql);
      } catch (error) {
        refused.set(object, error instanceof Error ? error.message : String(error));
      }
    }
  return refused;
}

export function renamedState(state: SchemaState, renaming: Renaming): SchemaState {
  const tables = real(renaming.tables);
  const columns = [...renaming.columns].flatMap(([table, names]) => {
    const list = real(names);
    return list.length === 0 ? [] : [[table, list] as const];
  });
  if (tables.length === 0 && columns.length === 0) return state;
  return withScratch((db) => {
    const refused = createAll(db, state.objects);
    db.enableDefensive(false);
    // What is wrong with other objects is no reason to stop.
    db.exec("PRAGMA writable_schema = ON");
    for (const [table, names] of columns)
      renameAll(names, (from, to) => {
        db.exec(
          `ALTER TABLE ${quoteIdentifier(table)} RENAME COLUMN ${quoteIdentifier(from)} TO ${quoteIdentifier(to)}`,
        );
      });
    renameAll(tables, (from, to) => {
      db.exec(`ALTER TABLE ${quoteIdentifier(from)} RENAME TO ${quoteIdentifier(to)}`);
    });
    const read = new Map(
      queryOf(db)("SELECT type, name, tbl_name, sql FROM sqlite_schema").map(([kind, name, table, sql]) => [
        `${String(kind)} ${foldName(String(name))}`,
        { name: String(name), tableName: String(table), sql: String(sql) },
      ]),
    );
    const nameOf = (table: string): string => renaming.tables.get(foldName(table)) ?? table;
    const objects = state.objects.map((object): SchemaObject => {
      const name = object.kind === "table" ? nameOf(object.name) : object.name;
      const now = refused.has(object) ? undefined : read.get(`${object.kind} ${foldName(name)}`);
      return { ...object, name, tableName: nameOf(object.tableName), ...now };
    });
    return { ...state, objects };
  });
}

/** All step aside first, so that no name is in another's way. */
function renameAll(
  names: readonly (readonly [string, string])[],
  rename: (from: string, to: string) => void,
): void {
  const aside = (i: number): string => `__marmot__between_${i}`;
  names.forEach(([from], i) => rename(from, aside(i)));
  names.forEach(([, to], i) => rename(aside(i), to));
}
