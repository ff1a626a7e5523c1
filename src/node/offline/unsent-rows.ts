/** Rows of a stopped node's file that no other node has received, listed and saved as a database. */
import type { DatabaseSync } from "node:sqlite";
import { readAcknowledged, readChangeLogs } from "../../rows/change-logs.ts";
import { queryOf } from "../../sqlite/query.ts";
import { quoteIdentifier, quoteText } from "../../sqlite/quote.ts";
import { keyColumns, readTable, rowidAliases } from "../../sqlite/schema.ts";

/** Rows of one table that no other node has received. */
export interface UnsentRows {
  readonly table: string;
  readonly rows: number;
  /** The first keys as SQL literals. */
  readonly keys: readonly string[];
}

interface UnsentLog extends UnsentRows {
  readonly log: string;
  readonly acknowledged: number;
  /** Columns of the log with the key. */
  readonly columns: readonly string[];
}

const KEYS_SHOWN = 20;
/** Of the saved database: keys of rows that were deleted. */
const DELETED = "__deleted";

function unsentLogs(db: DatabaseSync): UnsentLog[] {
  const acknowledged = readAcknowledged(db);
  return readChangeLogs(db).flatMap(({ id, name, log }) => {
    const columns = db
      .prepare(`SELECT name FROM pragma_table_info(?) WHERE name GLOB 'k[0-9]*'`)
      .all(log)
      .map(({ name }) => String(name));
    const key = columns.map((column) => `quote(${quoteIdentifier(column)})`).join(" || ', ' || ");
    const after = acknowledged.get(id) ?? 0;
    const keys = db
      .prepare(`SELECT DISTINCT ${key} AS "key" FROM ${quoteIdentifier(log)} WHERE id > ?`)
      .all(after)
      .map((row) => String(row.key));
    if (keys.length === 0) return [];
    return [
      { table: name, rows: keys.length, keys: keys.slice(0, KEYS_SHOWN), log, acknowledged: after, columns },
    ];
  });
}

/**
 * Lists the rows and saves them at `path`: tables of the same names with the stored columns, and the keys of deleted rows. No
 * file is made where every row was sent.
 */
export function saveUnsent(db: DatabaseSync, path: string): UnsentRows[] {
  const logs = unsentLogs(db);
  if (logs.length === 0) return [];
  db.exec(`ATTACH ${quoteText(path)} AS unsent`);
  try {
    db.exec(`CREATE TABLE unsent.${DELETED}("table" TEXT, "key" TEXT)`);
    for (const log of logs) saveTable(db, log);
  } finally {
    db.exec("DETACH unsent");
  }
  return logs.map(({ table, rows, keys }) => ({ table, rows, keys }));
}

function saveTable(db: DatabaseSync, { table, log, acknowledged, columns }: UnsentLog): void {
  const { columns: all, ...shape } = readTable(queryOf(db), table);
  const declared = keyColumns({ columns: all, ...shape }).map((c) => quoteIdentifier(c.name));
  const key = declared.length > 0 ? declared : rowidAliases({ columns: all, ...shape }).slice(0, 1);
  if (all.length === 0 || key.length !== columns.length) return; // the application changed the table: the old file has it
  const of = (side: string, names: readonly string[]): string[] => names.map((name) => `${side}.${name}`);
  const logged = of("l", columns.map(quoteIdentifier));
  const on = of("t", key).map((column, i) => `${column} IS ${logged[i]!}`);
  const from = `(SELECT DISTINCT ${columns.map(quoteIdentifier).join(", ")} FROM main.${quoteIdentifier(log)} WHERE id > ${acknowledged}) l`;
  const name = quoteIdentifier(table);
  const stored = all.flatMap((c) => (c.hidden === 0 ? [quoteIdentifier(c.name)] : []));
  db.exec(
    `CREATE TABLE unsent.${name} AS SELECT ${of("t", stored).join(", ")} FROM ${from} JOIN main.${name} t ON ${on.join(" AND ")}`,
  );
  const keyText = logged.map((column) => `quote(${column})`).join(" || ', ' || ");
  db.exec(
    `INSERT INTO unsent.${DELETED} SELECT ${quoteText(table)}, ${keyText} FROM ${from}
       WHERE NOT EXISTS(SELECT 1 FROM main.${name} t WHERE ${on.join(" AND ")})`,
  );
}
