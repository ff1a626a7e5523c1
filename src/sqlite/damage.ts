/** Damaged pages of a database. Rows against a constraint are no damage: an application may have them. */
import type { DatabaseSync } from "node:sqlite";
import { errorMessage, isDamage } from "../base/errors.ts";
import { queryOf } from "./query.ts";
import { quoteText } from "./quote.ts";

/** Larger files are checked only where that is asked for. */
export const QUICK_CHECK_BYTES = 64 << 20;

/** Lines of SQLite's checks on rows, not on pages; the index of a virtual table is its module's. */
const OF_ROWS =
  /^(?:CHECK constraint failed|NULL value|(?:non-)?[A-Z]+ value|row .* is not unique|(?:unable to validate|malformed) the? ?inverted index|In RTree)/;

/** Damage is reported first. */
const LINES = 20;
const LENGTH = 200;

export const isOfRows = (line: string): boolean => OF_ROWS.test(line);

export const sizeOf = (db: DatabaseSync): number => {
  const number = (pragma: string): number => Number(queryOf(db)(`PRAGMA ${pragma}`)[0]![0]);
  return number("page_count") * number("page_size");
};

/** The first line. */
export const damageText = (error: unknown): string =>
  errorMessage(error)
    .replace(/^\*\*\* in database .*\n/, "")
    .replace(/\n[^]*/, "")
    .slice(0, LENGTH);

/** The first damage that SQLite's quick_check finds; null: none. Reads the whole file. */
export function findDamage(db: DatabaseSync): string | null {
  // A CHECK may call functions that only the application has.
  db.exec("PRAGMA ignore_check_constraints = ON");
  try {
    const found = quickCheck(db, String(LINES)) ?? eachTable(db);
    const line = found.find((text) => text !== "ok" && !isOfRows(text));
    return line === undefined ? null : damageText(line);
  } catch (error) {
    if (isDamage(error)) return damageText(error);
    throw error;
  } finally {
    db.exec("PRAGMA ignore_check_constraints = OFF");
  }
}

/** null: the schema calls something that only the application has. */
function quickCheck(db: DatabaseSync, argument: string): string[] | null {
  try {
    return queryOf(db)(`PRAGMA main.quick_check(${argument})`).map(([line]) => String(line));
  } catch (error) {
    if (isDamage(error)) throw error;
    return null;
  }
}

function eachTable(db: DatabaseSync): string[] {
  const tables = queryOf(db)("SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table'");
  return tables.flatMap(([name]) => quickCheck(db, quoteText(String(name))) ?? []);
}
