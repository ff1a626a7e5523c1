/**
 * Stored generated columns. They are computed where a row is written, so that another version of SQLite, or an application
 * function of another meaning, leaves another value in one file; no image has them.
 */
import type { DatabaseSync } from "node:sqlite";
import { type KeyId, keyIdOf } from "../../change/key.ts";
import type { TableShape } from "../../change/shape.ts";
import type { Value } from "../../change/value.ts";
import { exactKey, exactKeyColumns, keyEquals, prepareExact } from "../../rows/exact-values.ts";
import { queryOf } from "../../sqlite/query.ts";
import { quoteIdentifier } from "../../sqlite/quote.ts";
import { readTable } from "../../sqlite/schema.ts";

const STORED = 3;
const SLICE = 2000;

/** `db`: the application's file, with the replica attached as `replica`. `pause` is called now and then. */
export async function* differingGenerated(
  db: DatabaseSync,
  table: TableShape,
  encoding: string,
  pause: () => Promise<void>,
): AsyncGenerator<{ readonly keyId: KeyId; readonly column: string }, void> {
  const columns = readTable(queryOf(db), table.name).columns.filter((c) => c.hidden === STORED);
  if (columns.length === 0) return;
  const name = quoteIdentifier(table.name);
  const keys = (side: string): string[] =>
    table.key.map((k) => `${side}.${quoteIdentifier(table.columns[k]!.name)}`);
  const differs = columns.map(({ name }) => {
    const [here, there] = ["l", "r"].map((side) => `${side}.${quoteIdentifier(name)}`) as [string, string];
    return `(${here} IS NOT ${there} OR typeof(${here}) <> typeof(${there}))`;
  });
  const rows = prepareExact(
    db,
    `SELECT ${exactKeyColumns(table, keys("l"))}, ${differs.join(", ")}
       FROM main.${name} l JOIN replica.${name} r ON ${keyEquals(table, keys("r"), keys("l"))}`,
  );
  let done = 0;
  for (const row of rows.iterate() as unknown as Iterable<Value[]>) {
    if (++done % SLICE === 0) await pause();
    const at = row.slice(-columns.length).indexOf(1n);
    if (at !== -1) yield { keyId: keyIdOf(table, exactKey(table, row, encoding)), column: columns[at]!.name };
  }
}
