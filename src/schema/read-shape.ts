/** Turns SQLite's description of a table into a `TableShape`, the plain value that the pipeline works with. */
import { foldName } from "../base/names.ts";
import { assert } from "../base/assert.ts";
import type { Collation, ColumnShape, TableShape, UniqueShape, UniqueTerm } from "../change/shape.ts";
import { quoteIdentifier } from "../sqlite/quote.ts";
import { keyCollations, keyColumns, rowidAliases, type Table, type UniqueIndex } from "../sqlite/schema.ts";
import { parseIndex } from "../sqlite/ddl-text/index-text.ts";

/** Only stored columns travel: every node computes generated ones itself. */
const isStored = (column: { readonly hidden: number }): boolean => column.hidden === 0;

/** `id`: the permanent id of the table. `classify` must have accepted the table. */
export function shapeOf(table: Table, id: number): TableShape {
  const declared: readonly ColumnShape[] = table.columns.filter(isStored);
  const rowidKey = keyColumns(table).length === 0;
  const stored = rowidKey ? [rowidColumn(table), ...declared] : declared;
  const place = new Map(stored.map((c, i) => [foldName(c.name), i]));
  const key = rowidKey ? [0] : keyColumns(table).map((c) => place.get(foldName(c.name))!);
  const uniques = table.uniques
    .filter((u) => rowidKey || u.origin !== "pk")
    .map((u) => uniqueShape(u, place));
  return {
    id,
    name: table.name,
    columns: stored.map((c) => ({ name: c.name, affinity: c.affinity })),
    key,
    keyCollations: rowidKey ? ["BINARY"] : (keyCollations(table) as Collation[]),
    withoutRowid: table.withoutRowid,
    integerKey: rowidKey || table.rowidColumn !== null,
    rowidKey,
    autoincrement: table.autoincrement,
    uniques,
    routedByName: rowidKey || uniques.length > 0,
  };
}

/** The rowid as a column, under the free name that a new column is least likely to take. */
function rowidColumn(table: Table): ColumnShape {
  const name = rowidAliases(table).at(-1);
  assert(name !== undefined, `the rowid of ${table.name} has a name`);
  return { name, affinity: "INTEGER" };
}

function uniqueShape(index: UniqueIndex, place: ReadonlyMap<string, number>): UniqueShape {
  const text = index.origin === "c" ? parseIndex(index.sql) : null;
  const terms = index.terms.map((term, i): UniqueTerm => {
    const { collation } = term;
    if (term.column === null) return { column: null, sql: text!.terms[i]!, collation };
    // A generated column is not stored: it is compared as an expression, its name.
    const column = place.get(foldName(term.column)) ?? null;
    return { column, sql: quoteIdentifier(term.column), collation };
  });
  return { name: index.name, terms, where: text?.where ?? null };
}
