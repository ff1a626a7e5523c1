/** Renames tables and columns of a catalogue: SQLite itself does it, in memory, and rewrites all references to them. */
import { foldName } from "../../base/names.ts";
import { queryOf } from "../../sqlite/query.ts";
import { quoteIdentifier } from "../../sqlite/quote.ts";
import type { SchemaObject } from "../../sqlite/schema.ts";
import type { SchemaState } from "../diff/change.ts";
import { type RenameStep, renameSteps } from "../diff/rename-steps.ts";
import { createAll, withScratch } from "../scratch.ts";

/** Present names in lower case ⇒ wanted names. */
export interface Renaming {
  readonly tables: ReadonlyMap<string, string>;
  /** By the table's present name in lower case. */
  readonly columns: ReadonlyMap<string, ReadonlyMap<string, string>>;
}

const stepsOf = (names: ReadonlyMap<string, string>): RenameStep[] =>
  renameSteps(
    [...names].flatMap(([from, to]) => (from === foldName(to) ? [] : [{ from, to }])),
    () => "__marmot__between",
  );

export function renamedState(state: SchemaState, renaming: Renaming): SchemaState {
  const tables = stepsOf(renaming.tables);
  const columns = [...renaming.columns].flatMap(([table, names]) =>
    stepsOf(names).map((step) => ({ table, ...step })),
  );
  if (tables.length === 0 && columns.length === 0) return state;
  return withScratch((db) => {
    const refused = createAll(db, state.objects);
    db.enableDefensive(false);
    // With it ALTER TABLE ignores errors in other objects.
    db.exec("PRAGMA writable_schema = ON");
    for (const { table, from, to } of columns)
      db.exec(
        `ALTER TABLE ${quoteIdentifier(table)} RENAME COLUMN ${quoteIdentifier(from)} TO ${quoteIdentifier(to)}`,
      );
    for (const { from, to } of tables)
      db.exec(`ALTER TABLE ${quoteIdentifier(from)} RENAME TO ${quoteIdentifier(to)}`);
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
