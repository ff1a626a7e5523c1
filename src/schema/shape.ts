/** From what SQLite says of a table to the plain value that the rest of the pipeline works with. */
import type { Collation, TableShape, UniqueShape, UniqueTerm } from "../change/shape.ts";
import { quoteIdentifier } from "../sqlite/quote.ts";
import { keyCollations, keyColumns, type Table, type UniqueIndex } from "../sqlite/schema.ts";
import { parseIndex } from "./index-text.ts";

/** Stored columns: generated ones are computed again on every node. */
const isStored = (column: { readonly hidden: number }): boolean => column.hidden === 0;

/** `id`: the table's for ever. The table must have been classified as one that replicates. */
export function shapeOf(table: Table, id: number): TableShape {
  const stored = table.columns.filter(isStored);
  const place = new Map(stored.map((c, i) => [c.name.toLowerCase(), i]));
  const key = keyColumns(table).map((c) => place.get(c.name.toLowerCase())!);
  const uniques = table.uniques.filter((u) => u.origin !== "pk").map((u) => uniqueShape(u, place));
  return {
    id,
    name: table.name,
    columns: stored.map((c) => ({ name: c.name, affinity: c.affinity })),
    key,
    keyCollations: keyCollations(table) as Collation[],
    withoutRowid: table.withoutRowid,
    integerKey: table.rowidColumn !== null,
    autoincrement: table.autoincrement,
    uniques,
    routedByName: uniques.length > 0,
  };
}

function uniqueShape(index: UniqueIndex, place: ReadonlyMap<string, number>): UniqueShape {
  const text = index.origin === "c" ? parseIndex(index.sql) : null;
  const terms = index.terms.map((term, i): UniqueTerm => {
    const { collation } = term;
    if (term.column === null) return { column: null, sql: text!.terms[i]!, collation };
    // A generated column is no stored one: it is compared as an expression by its name.
    const column = place.get(term.column.toLowerCase()) ?? null;
    return { column, sql: quoteIdentifier(term.column), collation };
  });
  return { name: index.name, terms, where: text?.where ?? null };
}
