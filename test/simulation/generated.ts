/**
 * Plans with a schema of the generator: the tables beside its own, and the transactions of an application. The
 * generator does not know the simulator, so whole rows replace tags: each transaction records which rows it found and
 * left.
 */
import type { Database } from "bun:sqlite";
import type { DatabaseSync } from "node:sqlite";
import { type KeyId, keyIdOfImage } from "../../src/change/key.ts";
import type { TableShape } from "../../src/change/shape.ts";
import { type Image, imageEqual } from "../../src/change/value.ts";
import { ALL, classify } from "../../src/schema/classify/classify.ts";
import { exactRows } from "../../src/rows/exact-rows.ts";
import { shapeOf } from "../../src/schema/read-shape.ts";
import { openDatabase } from "../../src/sqlite/open.ts";
import { type Query, queryOf } from "../../src/sqlite/query.ts";
import { readTable } from "../../src/sqlite/schema.ts";
import { canReplicate, type Work } from "../differential/traffic.ts";

/** Every transaction writes both: which one it was, and money that moves between two rows. The generator has no such names. */
export const BESIDE = [
  "CREATE TABLE bank(id INTEGER PRIMARY KEY, owner INT NOT NULL, amount INT NOT NULL)",
  "CREATE TABLE counter(owner INTEGER PRIMARY KEY, seq INT NOT NULL)",
];
export const COUNTER_TAGS = "SELECT 'counter/' || owner, owner || '.' || seq FROM counter";

/** Settings that a transaction begins with before its own. */
const DEFAULTS = `
  PRAGMA recursive_triggers = OFF; PRAGMA foreign_keys = OFF; PRAGMA trusted_schema = ON; PRAGMA ignore_check_constraints = OFF`;

/**
 * What no application may be told: that Marmot is there, or that its file is broken. "malformed JSON" may come of an index of
 * its own; the differential test compares such answers with plain SQLite's.
 */
const NEVER = /__marmot__|not authorized|malformed(?! JSON)|no such function|unsafe use|disk I\/O/;

export const prepareConnection = (db: Database, work: Work): void =>
  void db.exec([DEFAULTS, ...work.settings].join(";"));

/**
 * Executes the statements of the open transaction. Constraints and triggers may refuse them or end the transaction.
 * In a reduced plan, or after a schema change, they may name missing objects. Returns the errors that must not occur.
 */
export function perform(db: Database, { statements }: Work): string[] {
  const wrong: string[] = [];
  for (const text of statements) {
    if (!db.inTransaction) break;
    try {
      if (/^(?:CREATE|ALTER|DROP)\b/.test(text)) change(db, text);
      else db.exec(text);
    } catch (error) {
      if (NEVER.test(String(error))) wrong.push(`${text} is answered with ${String(error)}`);
    }
  }
  return wrong;
}

/**
 * Executes a schema change, except one that makes a table unsupported, such as a trigger that names a table which
 * another node has not created yet. A node with such a file stops sending until it is fixed, and the simulation has
 * no one who fixes it.
 */
function change(db: Database, text: string): void {
  db.exec("SAVEPOINT change");
  try {
    db.exec(text);
    if (!canReplicate(db)) db.exec("ROLLBACK TO change");
  } finally {
    if (db.inTransaction) db.exec("RELEASE change");
  }
}

/** A row that a transaction changed, before and after; null: no row. */
export interface RowWrite {
  readonly table: TableShape;
  readonly keyId: KeyId;
  readonly before: Image | null;
  readonly after: Image | null;
}

interface Row {
  readonly table: TableShape;
  readonly keyId: KeyId;
  readonly image: Image;
}
export type Rows = ReadonlyMap<string, Row>;

/** Table and key. */
export const nameOfRow = (table: { readonly name: string }, keyId: KeyId): string => `${table.name}/${keyId}`;

/** Reads all replicated rows of a file that no transaction of Marmot's is writing. */
export class RowReader {
  readonly #db: DatabaseSync;
  readonly #query: Query;
  readonly #encoding: string;
  #shapes: readonly TableShape[] | null = null;

  constructor(file: string, encoding: string) {
    this.#db = openDatabase(file, { readOnly: true });
    this.#query = queryOf(this.#db);
    this.#encoding = encoding;
  }

  rows(): Rows {
    this.#shapes ??= classify(this.#query, ALL)
      .filter(({ verdict }) => verdict === "replicates" || verdict === "care")
      .map(({ name }) => shapeOf(readTable(this.#query, name), 0));
    const rows = new Map<string, Row>();
    for (const table of this.#shapes)
      for (const image of exactRows(this.#db, table, this.#encoding)) {
        const keyId = keyIdOfImage(table, image);
        rows.set(nameOfRow(table, keyId), { table, keyId, image });
      }
    return rows;
  }

  close(): void {
    this.#db.close();
  }
}

export function changesOf(before: Rows, after: Rows): RowWrite[] {
  const changes: RowWrite[] = [];
  for (const [name, { table, keyId, image }] of before) {
    const left = after.get(name)?.image ?? null;
    if (left === null || !imageEqual(image, left)) changes.push({ table, keyId, before: image, after: left });
  }
  for (const [name, { table, keyId, image }] of after)
    if (!before.has(name)) changes.push({ table, keyId, before: null, after: image });
  return changes;
}
