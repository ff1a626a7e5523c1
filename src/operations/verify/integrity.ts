/**
 * SQLite's own check of the application's file: rows that are missing in an index, and pages that are damaged. An index of an
 * expression for which two versions of SQLite have different values is found by nothing else.
 */
import type { DatabaseSync } from "node:sqlite";
import { foldName } from "../../base/names.ts";
import { isOfRows, QUICK_CHECK_BYTES, sizeOf } from "../../sqlite/damage.ts";
import { queryOf } from "../../sqlite/query.ts";
import { quoteText } from "../../sqlite/quote.ts";

/** Problems that are named of one table. */
const NAMED = 20;

export interface Damage {
  readonly table: string;
  readonly detail: string;
}

/** `left`: folded names of tables that this node holds back, whose indexes may be the application's alone. */
export async function damages(
  db: DatabaseSync,
  left: ReadonlySet<string>,
  pause: () => Promise<void>,
): Promise<Damage[]> {
  const query = queryOf(db);
  // The check of a table keeps the process busy.
  if (sizeOf(db) > QUICK_CHECK_BYTES) return [];
  const found: Damage[] = [];
  const tables = query(
    "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type IN ('table', 'virtual')",
  );
  for (const [name] of tables) {
    if (left.has(foldName(String(name)))) continue;
    await pause();
    for (const [line] of checked(db, String(name)))
      if (line !== "ok" && !isOfRows(String(line))) found.push({ table: String(name), detail: String(line) });
  }
  return found;
}

/** A table whose module or collation only the application has cannot be checked here. */
function checked(db: DatabaseSync, table: string): unknown[][] {
  try {
    const lines = queryOf(db)(`PRAGMA main.integrity_check(${quoteText(table)})`);
    return lines.slice(0, NAMED);
  } catch {
    return [];
  }
}
