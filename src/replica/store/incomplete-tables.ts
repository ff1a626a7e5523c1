/**
 * Incomplete tables: this SQLite lacks a function, a collation or a module that the replica's table needs to take its rows as on
 * the other nodes. The replica keeps the table without rows, and the file holds it back. All else is applied. A whole replica of
 * another member ends this, as soon as this node can write the table.
 */
import type { DatabaseSync } from "node:sqlite";
import { foldName } from "../../base/names.ts";
import type { TableShape } from "../../change/shape.ts";
import { addStandIns, type Unwritable, unwritableTables, withCopy } from "../../schema/classify/writable.ts";
import { readForeignKeys } from "../../schema/foreign-keys.ts";
import { queryOf } from "../../sqlite/query.ts";
import { quoteIdentifier } from "../../sqlite/quote.ts";
import type { SchemaObject } from "../../sqlite/schema.ts";
import { readLocal, writeLocal } from "./local.ts";
import { readObjectsOf, readShapes, replicaObjects } from "./schema-store.ts";
import type { ReplicaSettings } from "./settings.ts";
import { raiseReplicaFormat, WITHOUT_ROWS_FORMAT } from "./used-formats.ts";

export interface IncompleteTable {
  readonly id: number;
  /** The table and the lack, in a sentence. */
  readonly reason: string;
  readonly hint: string;
  /** Its rows depend on those of another one by a foreign key. */
  readonly isTied: boolean;
}

export type IncompleteTables = ReadonlyMap<number, IncompleteTable>;

const FACT = "incomplete";

export const readIncomplete = (db: DatabaseSync): IncompleteTables =>
  new Map((JSON.parse(readLocal(db, FACT) ?? "[]") as IncompleteTable[]).map((t) => [t.id, t]));

/** In the transaction of the schema. A build that does not know such tables refuses the replica. */
export function writeIncomplete(db: DatabaseSync, tables: IncompleteTables): void {
  if (tables.size === 0) return;
  raiseReplicaFormat(db, WITHOUT_ROWS_FORMAT);
  writeLocal(db, FACT, JSON.stringify([...tables.values()]));
}

/** Tables that this SQLite cannot write, by folded name. `objects`: replicated tables and their UNIQUE indexes. */
export const unwritableAmong = (objects: readonly SchemaObject[]): Map<string, Unwritable[]> =>
  withCopy(objects, (copy) => unwritableTables(copy));

/** Empties a table, whatever its indexes call: SQLite evaluates nothing for a DELETE without a condition. */
export function emptyTable(db: DatabaseSync, name: string): void {
  db.exec(`DELETE FROM main.${quoteIdentifier(name)}`);
}

const GIVE = "start this node with the --functions FILE.js and --load-extension FILE of the other nodes";

function incompleteOf(id: number, why: readonly Unwritable[]): IncompleteTable {
  const without = [...new Set(why.map((u) => u.without))].filter((text) => text !== "");
  return {
    id,
    isTied: false,
    reason: why.map((u) => u.reason).join("; "),
    hint: without.length === 0 ? GIVE : `${GIVE}, or on another node ${without.join(" and ")}`,
  };
}

export interface FoundIncomplete {
  /** By folded name. */
  readonly unwritable: ReadonlyMap<string, readonly Unwritable[]>;
  /** Those that were incomplete before. */
  readonly before: IncompleteTables;
  readonly settings: Pick<ReplicaSettings, "foreignKeys">;
}

/**
 * The tables without rows under the present schema of the replica. null: they would change rows of other tables, or which
 * changesets count: rowids that SQLite picks are redirected by all rows of a table.
 */
export function incompleteUnder(
  db: DatabaseSync,
  shapes: readonly TableShape[],
  { unwritable, before, settings }: FoundIncomplete,
): IncompleteTables | null {
  const found = new Map<number, IncompleteTable>();
  const add = (shape: TableShape, table: IncompleteTable): void => void found.set(shape.id, table);
  for (const shape of shapes) {
    const why = unwritable.get(foldName(shape.name));
    if (why !== undefined) add(shape, incompleteOf(shape.id, why));
    else if (before.has(shape.id)) add(shape, before.get(shape.id)!);
  }
  if (settings.foreignKeys === "resolve") addRelatives(db, shapes, found);
  return shapes.some((s) => found.has(s.id) && s.rowidKey) ? null : found;
}

/** A lost parent row changes its children, and the other way round. */
function addRelatives(
  db: DatabaseSync,
  shapes: readonly TableShape[],
  found: Map<number, IncompleteTable>,
): void {
  const foreignKeys = readForeignKeys(queryOf(db), shapes);
  for (let before = -1; before !== found.size;) {
    before = found.size;
    for (const { child, parent } of foreignKeys)
      for (const [from, to] of [
        [child, parent],
        [parent, child],
      ] as const) {
        const table = found.get(from.id);
        if (table === undefined || found.has(to.id)) continue;
        const reason = `a foreign key ties it to ${from.name}, and of that ${table.reason}`;
        found.set(to.id, { id: to.id, isTied: true, reason, hint: table.hint });
      }
  }
}

/** The tables without rows of an open replica, and their end. */
export class Completion {
  tables: IncompleteTables;
  /** There are other members, from which this node can receive a whole replica. */
  mayReceive: () => boolean = () => true;
  readonly #db: DatabaseSync;
  #version = -1;
  #isDue = false;

  constructor(db: DatabaseSync) {
    this.#db = db;
    this.tables = readIncomplete(db);
  }

  /** A whole replica is due: this SQLite can write one of these tables by now. Asked once for each schema. */
  isDue({ schemaVersion }: Pick<ReplicaSettings, "schemaVersion">): boolean {
    if (this.tables.size === 0) return false;
    if (this.#version !== schemaVersion) this.#isDue = this.#look();
    this.#version = schemaVersion;
    return this.#isDue;
  }

  #look(): boolean {
    const objects = replicaObjects(readObjectsOf(this.#db));
    const unwritable = unwritableAmong(objects);
    return objects.some(({ tableId, name }) => {
      const table = tableId === null ? undefined : this.tables.get(tableId);
      return table?.isTied === false && !unwritable.has(foldName(name));
    });
  }
}

/**
 * A received replica, before its first use by a member: tables that this node cannot write are emptied. Throws what
 * `requireWritable` would throw later where that cannot be.
 */
export function markIncomplete(db: DatabaseSync, settings: ReplicaSettings): void {
  const objects = replicaObjects(readObjectsOf(db));
  const unwritable = unwritableAmong(objects);
  if (unwritable.size === 0) return;
  addStandIns(db, objects);
  const found = incompleteUnder(db, readShapes(db), { unwritable, before: new Map(), settings });
  if (found === null) return;
  for (const { name, tableId } of objects) if (tableId !== null && found.has(tableId)) emptyTable(db, name);
  writeIncomplete(db, found);
}
