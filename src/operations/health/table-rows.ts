/** How many rows each replicated table has: exactly for small tables, estimated for large ones. */
import type { DatabaseSync } from "node:sqlite";
import { nextTurn } from "../../base/clock.ts";
import type { Replicator } from "../../replication/replicator.ts";
import { quoteIdentifier } from "../../sqlite/quote.ts";
import { integer, nullable, readTuple } from "../../sqlite/typed-rows.ts";
import type { TableStatus } from "../api.ts";

/** Rows that are counted: some milliseconds for each table. */
const COUNTED_ROWS = 20_000;

/** One table in each turn, so that nothing waits for long. */
export async function tableRows(replicator: () => Replicator | null): Promise<TableStatus[]> {
  const found: TableStatus[] = [];
  for (const { name } of replicator()?.replica.replica.shapes.values() ?? []) {
    await nextTurn();
    const open = replicator();
    if (open === null) break;
    found.push({ name, ...rowsOf(open.replica.db, name) });
  }
  return found.sort((a, b) => (a.name < b.name ? -1 : 1));
}

function rowsOf(db: DatabaseSync, name: string): Omit<TableStatus, "name"> {
  const table = quoteIdentifier(name);
  try {
    const rows = one(db, `SELECT count(*) FROM (SELECT 1 FROM ${table} LIMIT ${COUNTED_ROWS + 1})`) ?? 0;
    if (rows <= COUNTED_ROWS) return { rows, isEstimate: false };
    return { rows: estimate(db, table) ?? rows, isEstimate: true };
  } catch {
    return { rows: null, isEstimate: false }; // a schema change has just taken it
  }
}

/** From the range of the rowids; null: the table has none. */
function estimate(db: DatabaseSync, table: string): number | null {
  try {
    const last = one(db, `SELECT max(rowid) FROM ${table}`);
    const first = one(db, `SELECT min(rowid) FROM ${table}`);
    return last === null || first === null ? null : Math.max(COUNTED_ROWS, last - first + 1);
  } catch {
    return null;
  }
}

function one(db: DatabaseSync, sql: string): number | null {
  const statement = db.prepare(sql);
  statement.setReturnArrays(true);
  return readTuple(statement.get(), nullable(integer))[0];
}
