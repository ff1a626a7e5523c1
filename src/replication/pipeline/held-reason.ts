/** The state of a node with rows that have no key, as a sentence with statements that fix it. */
import type { TableShape } from "../../change/shape.ts";
import { quoteIdentifier } from "../../sqlite/quote.ts";

/** `held`: tables with such a row. `tied`: tables that wait with them. */
export function heldReason(
  shapes: ReadonlyMap<number, TableShape>,
  held: Iterable<number>,
  tied: Iterable<number>,
): string {
  const tables = [...held].flatMap((id) => shapes.get(id) ?? []);
  const names = (ids: Iterable<number>): string =>
    [...ids].flatMap((id) => shapes.get(id)?.name ?? []).join(", ");
  const waiting = names(tied);
  const also =
    waiting === "" ? "" : `; ${waiting} may have been written in the same transactions and wait, too`;
  return `rows of ${names(held)} wait on this node, as a row has NULL in its key${also}; other tables go on (hint: ${tables.map(hint).join("; ")})`;
}

function hint({ name, columns, key }: TableShape): string {
  const where = key.map((k) => `${quoteIdentifier(columns[k]!.name)} IS NULL`).join(" OR ");
  return `give the row a key, or DELETE FROM ${quoteIdentifier(name)} WHERE ${where}`;
}
