/**
 * The effects of triggers, as SQLite itself tells them: on an empty copy of the schema, the authorizer's callbacks name every
 * write while a statement that fires the trigger is prepared. Nothing is executed.
 */
import { constants, type DatabaseSync } from "node:sqlite";
import { errorMessage } from "../base/errors.ts";
import { foldName, isSameName } from "../base/names.ts";
import { queryOf } from "../sqlite/query.ts";
import { quoteIdentifier } from "../sqlite/quote.ts";
import { keyColumns, readTable, rowidAliases, type SchemaObject } from "../sqlite/schema.ts";
import { bareWords } from "../sqlite/ddl-text/table-text.ts";
import { standInsOf, withStandIns } from "../sqlite/functions/stand-ins.ts";
import { createAll, withScratch } from "./scratch.ts";

export type TriggerEvent = "INSERT" | "UPDATE" | "DELETE";

/** Names of tables and views are in lower case. */
export interface ObservedTrigger {
  readonly object: SchemaObject;
  readonly event: TriggerEvent;
  readonly inserts: ReadonlySet<string>;
  readonly updates: ReadonlySet<string>;
  readonly deletes: ReadonlySet<string>;
  /** Tables of which it updates a column of the key: no authorizer can ignore that. */
  readonly rekeys: ReadonlySet<string>;
  /** Functions that it calls and that only the application has. */
  readonly functions: ReadonlySet<string>;
  /** Why it could not be prepared, or "". */
  readonly error: string;
}

/** The schemas observed last: while a schema changes, the one before and the one after are asked for several times. */
const observed = new Map<string, readonly ObservedTrigger[]>();
const OBSERVED_MAX = 4;

export function observeTriggers(objects: readonly SchemaObject[]): readonly ObservedTrigger[] {
  const text = JSON.stringify(objects.map((o) => [o.kind, o.name, o.tableName, o.sql]));
  const known = observed.get(text) ?? withScratch((db) => new Observer(db, objects).all());
  observed.delete(text);
  observed.set(text, known);
  if (observed.size > OBSERVED_MAX) observed.delete(observed.keys().next().value!);
  return known;
}

/** Each trigger alone on a copy of the schema without rows. Triggers of views stay there: no write of a view compiles without them. */
class Observer {
  readonly #db: DatabaseSync;
  readonly #triggers: readonly SchemaObject[];
  readonly #views: ReadonlySet<string>;
  /** Key columns by table, in lower case. */
  readonly #keys = new Map<string, ReadonlySet<string>>();

  constructor(db: DatabaseSync, objects: readonly SchemaObject[]) {
    this.#db = db;
    this.#views = new Set(objects.filter((o) => o.kind === "view").map((o) => foldName(o.name)));
    this.#triggers = objects.filter((o) => o.kind === "trigger");
    // A refused object is a shadow table that exists already, or needs the application's modules and functions: a trigger
    // that uses it does not compile, and says so. Indexes are needed, too: an upsert names the columns of a UNIQUE one.
    createAll(
      db,
      objects.filter((o) => o.kind !== "trigger" || this.#isOfView(o)),
    );
  }

  all(): ObservedTrigger[] {
    return this.#triggers.map((object) => this.#observe(object));
  }

  #isOfView({ tableName }: SchemaObject): boolean {
    return this.#views.has(foldName(tableName));
  }

  #isKey(table: string, column: string): boolean {
    let key = this.#keys.get(table);
    if (key === undefined) {
      key = new Set(keyColumns(readTable(queryOf(this.#db), table)).map((c) => foldName(c.name)));
      this.#keys.set(table, key);
    }
    return foldName(column) === "rowid" || key.has(foldName(column));
  }

  #observe(object: SchemaObject): ObservedTrigger {
    const db = this.#db;
    const name = foldName(object.name);
    const event = eventOf(object.sql);
    const isOfView = this.#isOfView(object);
    const writes: [number, string, string][] = [];
    const functions = new Set<string>();
    let fired = false;
    let error = "";
    try {
      if (!isOfView) db.exec(object.sql);
      for (const sql of firingStatements(db, object.tableName, event)) {
        db.setAuthorizer((action, ...details) => {
          const [a, b, , trigger] = details;
          if (!isSameName(trigger, name)) return constants.SQLITE_OK;
          fired = true;
          if (action === constants.SQLITE_FUNCTION && standInsOf(db).has(foldName(b ?? "")))
            functions.add(b!);
          writes.push([action, foldName(a ?? ""), b ?? ""]);
          return constants.SQLITE_OK;
        });
        try {
          // A function that only the application's connections have is replaced by one without effect.
          withStandIns(db, () => db.prepare(sql));
        } catch (cause) {
          const message = errorMessage(cause);
          // Other triggers of the view are compiled with it, and a view may have no trigger for these columns.
          const isOthers = isOfView && (fired || message.includes("because it is a view"));
          if (!isOthers) error = message;
        }
      }
    } catch (cause) {
      error = errorMessage(cause);
    } finally {
      db.setAuthorizer(null);
      if (!isOfView) db.exec(`DROP TRIGGER IF EXISTS ${quoteIdentifier(object.name)}`);
    }
    const tables = (wanted: number): Set<string> =>
      new Set(writes.flatMap(([action, table]) => (action === wanted ? [table] : [])));
    const updated = writes.filter(([action]) => action === constants.SQLITE_UPDATE);
    return {
      object,
      event,
      inserts: tables(constants.SQLITE_INSERT),
      updates: tables(constants.SQLITE_UPDATE),
      deletes: tables(constants.SQLITE_DELETE),
      rekeys: new Set(updated.flatMap(([, table, column]) => (this.#isKey(table, column) ? [table] : []))),
      functions,
      error,
    };
  }
}

/** The first of the three words outside of quotes and comments: a name must be quoted to be one of them. */
function eventOf(sql: string): TriggerEvent {
  for (const { word } of bareWords(sql))
    if (word === "INSERT" || word === "UPDATE" || word === "DELETE") return word;
  throw new Error(`expected a CREATE TRIGGER with its event, got ${JSON.stringify(sql)}`);
}

/**
 * Statements that together fire every trigger of the table for the event. The names that an UPDATE sets decide which triggers
 * it fires: a trigger OF a generated column, or of a column that does not exist, never fires.
 */
function firingStatements(db: DatabaseSync, table: string, event: TriggerEvent): string[] {
  const name = `main.${quoteIdentifier(table)}`;
  if (event === "DELETE") return [`DELETE FROM ${name}`];
  const known = readTable(queryOf(db), table);
  const columns = known.columns.flatMap((c) => (c.hidden === 0 ? [quoteIdentifier(c.name)] : []));
  if (event === "INSERT")
    return [`INSERT INTO ${name}(${columns.join(", ")}) VALUES(${columns.map(() => "NULL").join(", ")})`];
  const set = (names: readonly string[]): string =>
    `UPDATE ${name} SET ${names.map((c) => `${c} = NULL`).join(", ")}`;
  const rowids = known.sql === "" || known.withoutRowid ? [] : rowidAliases(known);
  return [set(columns), ...rowids.map((alias) => set([alias]))];
}
