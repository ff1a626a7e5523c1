/** Creates a UNIQUE index over existing rows. Of rows that clash the latest is kept. */
import type { DatabaseSync } from "node:sqlite";
import { parseIndex } from "../../sqlite/ddl-text/index-text.ts";
import { prepareExact } from "../../rows/exact-values.ts";
import { failureOf } from "../../sqlite/ddl-text/can-fail.ts";
import { isFailedExpression } from "../../sqlite/functions/failed-expression.ts";
import { constraintOf, UNIQUE_VALUE } from "./copy-rows.ts";
import type { RejectedRows, RowRef } from "./constraint-rejects.ts";

/** `dropTriggers`: called once before rows are deleted, so that no trigger fires. */
export function createUniqueIndex(
  db: DatabaseSync,
  sql: string,
  rows: () => RejectedRows,
  dropTriggers: () => void,
): void {
  try {
    db.exec(sql);
    return;
  } catch (error) {
    if (constraintOf(error) === null && !isFailedExpression(error)) throw error;
  }
  const table = rows();
  removeFailing(db, sql, table, dropTriggers);
  const losers = losersOf(db, sql, table);
  dropTriggers();
  for (const { row, winner } of losers) table.report(row, UNIQUE_VALUE, winner.key);
  const remove = db.prepare(`DELETE FROM ${table.name} WHERE ${table.where}`);
  for (const { row } of losers) remove.run(...row.id);
  db.exec(sql);
}

/** Rows that the index cannot hold since its expression fails for them: the origin's file has none of them. */
function removeFailing(db: DatabaseSync, sql: string, table: RejectedRows, dropTriggers: () => void): void {
  const { terms, where } = parseIndex(sql);
  if ([...terms, where ?? "1"].every((text) => failureOf(text).fails === "never")) return;
  const value =
    where === null ? terms.join(", ") : terms.map((t) => `CASE WHEN (${where}) THEN (${t}) END`).join(", ");
  const evaluate = prepareExact(db, `SELECT ${value} FROM ${table.name} WHERE ${table.where}`);
  const failing = [...table.all()].filter((row) => {
    try {
      evaluate.all(...row.id);
      return false;
    } catch (error) {
      if (!isFailedExpression(error)) throw error;
      return true;
    }
  });
  if (failing.length === 0) return;
  dropTriggers();
  const remove = db.prepare(`DELETE FROM ${table.name} WHERE ${table.where}`);
  for (const row of failing) {
    table.report(row, "an expression of a unique index fails for it", null);
    remove.run(...row.id);
  }
}

interface Loser {
  readonly row: RowRef;
  readonly winner: RowRef;
}

function losersOf(db: DatabaseSync, sql: string, table: RejectedRows): Loser[] {
  const { terms, where } = parseIndex(sql);
  const list = terms.join(", ");
  // NULLs are distinct from each other. A term is evaluated only where the condition holds.
  const held = (term: string): string =>
    where === null ? `(${term})` : `CASE WHEN (${where}) THEN (${term}) END`;
  const conditions = terms.map((t) => `${held(t)} IS NOT NULL`);
  if (where !== null) conditions.unshift(`(${where})`);
  const groups = prepareExact(
    db,
    `SELECT * FROM (SELECT dense_rank() OVER (ORDER BY ${list}) "group", count(*) OVER (PARTITION BY ${list}) "size",
         row_number() OVER (ORDER BY ${table.order}) "place", ${table.columns}
       FROM ${table.name} WHERE ${conditions.join(" AND ")}) WHERE "size" > 1 ORDER BY "group", "place"`,
  ).all();
  const members = Map.groupBy(groups, (row) => row[0] as bigint);
  return [...members.values()].flatMap((group) => {
    const [winner, ...losers] = table.latestFirst(group.map((row) => table.ref(row, 3)));
    return losers.map((row) => ({ row, winner: winner! }));
  });
}
