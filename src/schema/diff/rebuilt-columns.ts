/**
 * Finds renamed columns of tables that were rebuilt. The rebuild drops the trigger that records renames. An ORM that renames a
 * column by a rebuild, or after one, leaves no trace but the catalogue. A new column with the definition of a missing one is
 * its candidate, and counts as renamed only if both hold the same values.
 *
 * A rename that was taken for a drop and an add would discard the values that other nodes write under the old name. A column
 * that was wrongly taken for a renamed one would show those values.
 */
import { foldName } from "../../base/names.ts";
import type { Query } from "../../sqlite/query.ts";
import { quoteIdentifier } from "../../sqlite/quote.ts";
import { keyColumns, readTable, type SchemaObject } from "../../sqlite/schema.ts";
import type { Recorder, SchemaState } from "./change.ts";
import { isVirtual } from "../virtual-tables.ts";
import { type ColumnText, parseTable } from "../../sqlite/ddl-text/table-text.ts";

/** Whether column `now` holds the values that column `before` held. */
export type HoldsSame = (table: string, before: string, now: string) => boolean;

/** The recorders that rebuilt tables would have. `recorders`: the ones that still exist. */
export function rebuiltRecorders(
  from: SchemaState,
  to: SchemaState,
  recorders: readonly Recorder[],
  holdsSame: HoldsSame,
): Recorder[] {
  const recorded = new Set(recorders.flatMap((r) => [`< ${foldName(r.table)}`, `> ${foldName(r.now)}`]));
  const after = new Map(to.objects.flatMap((o) => (o.kind === "table" ? [[foldName(o.name), o]] : [])));
  return from.objects.flatMap((old): Recorder[] => {
    const now = old.kind === "table" ? after.get(foldName(old.name)) : undefined;
    if (now === undefined || now.sql === old.sql || isVirtual(old) || isVirtual(now)) return [];
    if (recorded.has(`< ${foldName(old.name)}`) || recorded.has(`> ${foldName(now.name)}`)) return [];
    const renamed = renamedColumns(old, now, holdsSame);
    if (renamed.size === 0) return [];
    const columns = stored(old).map((c) => renamed.get(c.name) ?? c.name);
    return [{ table: old.name, now: now.name, columns }];
  });
}

const stored = ({ sql }: SchemaObject): ColumnText[] => parseTable(sql).columns.filter((c) => !c.generated);

const definition = (column: ColumnText): string => foldName(column.definition.replace(/\s+/g, " "));

/** Older name ⇒ the name now. */
function renamedColumns(old: SchemaObject, now: SchemaObject, holdsSame: HoldsSame): Map<string, string> {
  const [before, after] = [stored(old), stored(now)];
  const names = (columns: readonly ColumnText[]) => new Set(columns.map((c) => foldName(c.name)));
  const [had, has] = [names(before), names(after)];
  const added = after.filter((c) => !had.has(foldName(c.name)));
  const renamed = new Map<string, string>();
  for (const missing of before.filter((c) => !has.has(foldName(c.name)))) {
    const at = added.findIndex(
      (c) => definition(c) === definition(missing) && holdsSame(now.name, missing.name, c.name),
    );
    if (at >= 0) renamed.set(missing.name, added.splice(at, 1)[0]!.name);
  }
  return renamed;
}

/** Rows that are compared. */
const SAMPLE = 100;
/** Of ten rows that are in both files so many must be equal: the application may have written the others since. */
const EQUAL_OF_TEN = 9;

/** `appDb` reads the file, `replica` its earlier rows. NULLs are not compared; without a row to compare the answer is no. */
export function holdsSameIn(appDb: Query, replica: Query): HoldsSame {
  return (table, before, now) => {
    const name = quoteIdentifier(table);
    const was = readTable(replica, table);
    const keys = keyColumns(readTable(appDb, table)).map((c) => c.name);
    // Perhaps the key itself was renamed. Then its values must be found again, or it is another key.
    const isKey = keys.some((c) => foldName(c) === foldName(now));
    const keysThen = keys.map((c) => (foldName(c) === foldName(now) ? before : c));
    const had = new Set(was.columns.map((c) => foldName(c.name)));
    if (![before, ...keysThen].every((c) => had.has(foldName(c)))) return false;
    if (keys.length === 0 && was.withoutRowid) return false;
    const key = keys.length === 0 ? ["rowid"] : keys.map(quoteIdentifier);
    const keyThen = keys.length === 0 ? ["rowid"] : keysThen.map(quoteIdentifier);
    const column = quoteIdentifier(before);
    let equal = 0;
    let seen = 0;
    for (const [value, ...literals] of replica(
      `SELECT ${[column, ...keyThen].map((c) => `quote(${c})`).join(", ")} FROM main.${name} WHERE ${column} IS NOT NULL LIMIT ${SAMPLE}`,
    )) {
      const where = key.map((k, i) => `${k} IS ${String(literals[i])}`).join(" AND ");
      const [row] = appDb(`SELECT quote(${quoteIdentifier(now)}) FROM main.${name} WHERE ${where}`);
      if (row === undefined && !isKey) continue;
      seen++;
      if (row?.[0] === value) equal++;
    }
    return seen > 0 && equal * 10 >= seen * EQUAL_OF_TEN;
  };
}
