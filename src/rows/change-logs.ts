/** The registry of change logs in an app database, with the log id that each table has acknowledged. */
import type { DatabaseSync } from "node:sqlite";
import type { LogId, TableId } from "../base/ids.ts";
import { integer, readRows, text } from "../sqlite/typed-rows.ts";

/** A captured table: its id, its name and its change log. */
export interface CapturedTable {
  readonly id: TableId;
  readonly name: string;
  readonly log: string;
}

/** All captured tables by id. The registry must exist. */
export function readChangeLogs(db: DatabaseSync): CapturedTable[] {
  return readRows(db.prepare(`SELECT "id", "name", "log" FROM "__marmot__table" ORDER BY "id"`).all(), {
    id: integer,
    name: text,
    log: text,
  });
}

/** Table id ⇒ acknowledged log id. Tables without one are absent. */
export function readAcknowledged(db: DatabaseSync): Map<TableId, LogId> {
  const rows = db
    .prepare(
      `SELECT t."id", s."value" FROM "__marmot__table" t JOIN "__marmot__status" s ON s."item" = 'acknowledged' AND s."name" = t."name"`,
    )
    .all() as { id: number; value: number }[];
  return new Map(rows.map(({ id, value }) => [id, Number(value)]));
}

/** The statement that stores an acknowledged log id. Parameters: the table's name, the id. */
export const STORE_ACKNOWLEDGED = `INSERT INTO "__marmot__status" VALUES('acknowledged', ?, ?) ON CONFLICT("item", "name") DO UPDATE SET "value" = excluded."value"`;
