/** The registry of change logs in an app database, with the log id that each table has acknowledged. */
import type { DatabaseSync } from "node:sqlite";

/** A captured table: its id, its name and its change log. */
export interface CapturedTable {
  readonly id: number;
  readonly name: string;
  readonly log: string;
}

/** All captured tables by id. The registry must exist. */
export function readChangeLogs(db: DatabaseSync): CapturedTable[] {
  return db
    .prepare(`SELECT "id", "name", "log" FROM "__marmot__table" ORDER BY "id"`)
    .all() as unknown as CapturedTable[];
}

/** Table id ⇒ acknowledged log id. Tables without one are absent. */
export function readAcknowledged(db: DatabaseSync): Map<number, number> {
  const rows = db
    .prepare(
      `SELECT t."id", s."value" FROM "__marmot__table" t JOIN "__marmot__status" s ON s."item" = 'acknowledged' AND s."name" = t."name"`,
    )
    .all() as { id: number; value: number }[];
  return new Map(rows.map(({ id, value }) => [id, Number(value)]));
}

/** The statement that stores an acknowledged log id. Parameters: the table's name, the id. */
export const STORE_ACKNOWLEDGED = `INSERT INTO "__marmot__status" VALUES('acknowledged', ?, ?) ON CONFLICT("item", "name") DO UPDATE SET "value" = excluded."value"`;
