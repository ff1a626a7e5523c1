/**
 * The application's own triggers, judged by what they write: SQLite itself is asked, on an empty copy of the schema,
 * through the authorizer's callbacks while a statement that fires the trigger is prepared.
 *
 * What a trigger writes to replicated tables arrives as rows and must not happen again when other rows are written;
 * what it writes to tables of this node alone must happen on every node.
 */
import { constants, type DatabaseSync } from "node:sqlite";
import { errorMessage } from "../base/errors.ts";
import { foldName, isSameName } from "../base/names.ts";
import { openDatabase } from "../sqlite/open.ts";
import { queryOf } from "../sqlite/query.ts";
import { quoteIdentifier } from "../sqlite/quote.ts";
import { keyColumns, readTable, rowidAliases, type SchemaObject } from "../sqlite/schema.ts";
import { bareWords } from "../sqlite/ddl-text/table-text.ts";
import { mentions } from "../sqlite/ddl-text/index-text.ts";

/**
 * How a trigger is treated while Marmot writes. "silent": everything it does is ignored. "passes": what it writes to
 * replicated tables is ignored, the rest happens. "dropped": an authorizer cannot silence it, so it is away meanwhile.
 */
export type TriggerMode = "silent" | "passes" | "dropped";

export type TriggerEvent = "INSERT" | "UPDATE" | "DELETE";

export interface UserTrigger {
  readonly name: string;
  readonly table: string;
  /** Verbatim. */
  readonly sql: string;
  readonly mode: TriggerMode;
  readonly event: TriggerEvent;
  /** In lower case, views included. */
  readonly writes: ReadonlySet<string>;
  /** Why rows of a table that fires it cannot be written on other nodes; null: they can. */
  readonly problem: { readonly reason: string; readonly hint: string } | null;
}

interface Observed {
  readonly object: SchemaObject;
  readonly event: TriggerEvent;
  readonly inserts: Set<string>;
  readonly updates: Set<string>;
  readonly deletes: Set<string>;
  /** Tables of which it updates a column of the key: no authorizer can ignore that. */
  readonly moves: Set<string>;
  /** Functions that it calls and that only the application has. */
  readonly functions: ReadonlySet<string>;
  /** Why it could not be prepared, or "". */
  readonly error: string;
}

export class UserTriggers {
  /** By name, in lower case. */
  readonly byName: ReadonlyMap<string, UserTrigger>;
  readonly #replicated: ReadonlySet<string>;
  readonly #views: ReadonlySet<string>;
  readonly #byTable = new Map<string, UserTrigger[]>();
  readonly #reached = new Map<string, readonly UserTrigger[]>();

  constructor(
    triggers: readonly UserTrigger[],
    replicated: ReadonlySet<string>,
    views: ReadonlySet<string> = new Set(),
  ) {
    this.#views = views;
    this.byName = new Map(triggers.map((t) => [foldName(t.name), t]));
    this.#replicated = replicated;
    for (const trigger of triggers) {
      const table = foldName(trigger.table);
      this.#byTable.set(table, [...(this.#byTable.get(table) ?? []), trigger]);
    }
  }

  isReplicated(table: string): boolean {
    return this.#replicated.has(foldName(table));
  }

  isView(name: string): boolean {
    return this.#views.has(foldName(name));
  }

  /** Every trigger that SQLite compiles into a write of the table: its own, and those of what these write. */
  reachedFrom(table: string): readonly UserTrigger[] {
    let reached = this.#reached.get(table);
    if (reached === undefined) this.#reached.set(table, (reached = this.#reach(table)));
    return reached;
  }

  /** Writing the table fires triggers that do something. */
  passes(table: string): boolean {
    return this.reachedFrom(table).some((t) => t.mode === "passes");
  }

  #reach(table: string): UserTrigger[] {
    const reached = new Set<UserTrigger>();
    const visit = (name: string): void => {
      for (const trigger of this.#byTable.get(name) ?? []) {
        if (reached.has(trigger)) continue;
        reached.add(trigger);
        for (const written of trigger.writes) visit(written);
      }
    };
    visit(foldName(table));
    return [...reached];
  }
}

/** `objects`: the application's schema. `replicated`: names of tables, in any case. */
export function judgeTriggers(objects: readonly SchemaObject[], replicated: Iterable<string>): UserTriggers {
  const names = new Set([...replicated].map(foldName));
  if (!objects.some((o) => o.kind === "trigger")) return new UserTriggers([], names);
  const judge = new Judge(objects, names);
  return new UserTriggers(judge.verdicts(), names, judge.views);
}

class Judge {
  readonly #observed: readonly Observed[];
  readonly #replicated: ReadonlySet<string>;
  readonly views: ReadonlySet<string>;
  readonly #passing = new Map<Observed, boolean>();
  readonly #hard = new Map<Observed, string | null>();

  constructor(objects: readonly SchemaObject[], replicated: ReadonlySet<string>) {
    this.#observed = observe(objects);
    this.#replicated = replicated;
    this.views = new Set(objects.filter((o) => o.kind === "view").map((o) => foldName(o.name)));
  }

  verdicts(): UserTrigger[] {
    return this.#observed.map((trigger) => this.#verdict(trigger));
  }

  #on(table: string): Observed[] {
    return this.#observed.filter((o) => foldName(o.object.tableName) === table);
  }

  /** Whether it writes anything that lives on one node alone. */
  #passes(trigger: Observed): boolean {
    const known = this.#passing.get(trigger);
    if (known !== undefined) return known;
    this.#passing.set(trigger, false); // a circle adds nothing
    const result = [...trigger.inserts, ...trigger.updates, ...trigger.deletes].some((table) =>
      this.views.has(table) ? this.#on(table).some((t) => this.#passes(t)) : !this.#replicated.has(table),
    );
    this.#passing.set(trigger, result);
    return result;
  }

  /** What it does that an authorizer cannot ignore, or null. */
  #hardness(trigger: Observed): string | null {
    const known = this.#hard.get(trigger);
    if (known !== undefined) return known;
    this.#hard.set(trigger, null);
    const { inserts, updates, deletes, moves, functions } = trigger;
    const isReplicated = (table: string): boolean => this.#replicated.has(table);
    const deleted = [...deletes].find(isReplicated);
    const moved = [...moves].find(isReplicated);
    // An ignored UPDATE still fires the updated table's triggers, as if the row had been written once more.
    const seen = [...updates].find(
      (t) => isReplicated(t) && this.#on(t).some((o) => o.event === "UPDATE" && this.#passes(o)),
    );
    const view = [...inserts, ...updates, ...deletes].find(
      (t) => this.views.has(t) && this.#on(t).some((o) => this.#hardness(o) !== null),
    );
    let result: string | null = null;
    if (functions.size > 0) result = `calls ${[...functions].join(", ")}, which only the application knows`;
    else if (deleted !== undefined) result = `deletes from ${deleted}`;
    else if (moved !== undefined) result = `changes keys of ${moved}`;
    else if (seen !== undefined) result = `updates ${seen}, whose own triggers write beside what replicates`;
    else if (view !== undefined) result = `writes the view ${view}, whose triggers delete`;
    this.#hard.set(trigger, result);
    return result;
  }

  #verdict(trigger: Observed): UserTrigger {
    const { object, event, inserts, updates, deletes, error } = trigger;
    const { name, tableName: table, sql } = object;
    const common = { name, table, sql, event, writes: new Set([...inserts, ...updates, ...deletes]) };
    if (error !== "")
      return {
        ...common,
        mode: "dropped",
        problem: {
          reason: `its trigger ${name} does not compile here: ${error}`,
          hint: `write ${name} with SQLite's own functions and collations only, or drop it`,
        },
      };
    const hard = this.#hardness(trigger);
    if (!this.#passes(trigger))
      return { ...common, mode: hard === null ? "silent" : "dropped", problem: null };
    const why = hard ?? (mentions(sql, "RAISE") ? "uses RAISE" : null);
    if (why === null) return { ...common, mode: "passes", problem: null };
    const local = [...common.writes].find((t) => !this.#replicated.has(t)) ?? "";
    const reason = `its trigger ${name} writes ${local}, which each node keeps for itself, and also ${why}`;
    const split = `split ${name} into two triggers, one for each`;
    const problem =
      trigger.functions.size > 0
        ? { reason, hint: `${split}, or write it with SQLite's own functions only` }
        : { reason: `${reason}, which must happen on one node only`, hint: split };
    return { ...common, mode: "dropped", problem };
  }
}

/** Schemas that were observed last, with what was seen: one that changed is looked at several times, mostly before and after. */
const observed = new Map<string, readonly Observed[]>();
const OBSERVED_MAX = 4;

function observe(objects: readonly SchemaObject[]): readonly Observed[] {
  const text = JSON.stringify(objects.map((o) => [o.kind, o.name, o.tableName, o.sql]));
  const seen = observed.get(text) ?? observeOnCopy(objects);
  observed.delete(text);
  observed.set(text, seen);
  if (observed.size > OBSERVED_MAX) observed.delete(observed.keys().next().value!);
  return seen;
}

/** Each trigger alone on a copy of the schema without rows; those of views all the time, since writing a view needs them. */
function observeOnCopy(objects: readonly SchemaObject[]): Observed[] {
  const db = openDatabase(":memory:");
  try {
    const views = new Set(objects.filter((o) => o.kind === "view").map((o) => foldName(o.name)));
    const isInstead = (o: SchemaObject): boolean => views.has(foldName(o.tableName));
    const triggers = objects.filter((o) => o.kind === "trigger");
    // Indexes too: an upsert names the columns of a UNIQUE one.
    const indexes = objects.filter((o) => o.kind === "index");
    createAll(db, [...tablesInOrder(objects), ...indexes, ...objects.filter((o) => o.kind === "view")]);
    createAll(db, triggers.filter(isInstead));
    const keys = new Map<string, Set<string>>();
    const isKey = (table: string, column: string): boolean => {
      let of = keys.get(table);
      if (of === undefined) {
        of = new Set(keyColumns(readTable(queryOf(db), table)).map((c) => foldName(c.name)));
        keys.set(table, of);
      }
      return foldName(column) === "rowid" || of.has(foldName(column));
    };
    const standIns = new Set<string>();
    return triggers.map((object) => observeOne(db, object, isInstead(object), isKey, standIns));
  } finally {
    db.close();
  }
}

/** Virtual tables first: they make their shadow tables themselves. */
export function tablesInOrder(objects: readonly SchemaObject[]): SchemaObject[] {
  const tables = objects.filter((o) => o.kind === "table");
  return [...tables.filter((o) => isVirtual(o)), ...tables.filter((o) => !isVirtual(o))];
}

export const isVirtual = (object: { readonly sql: string }): boolean =>
  /^\s*CREATE\s+VIRTUAL\b/i.test(object.sql);

function createAll(db: DatabaseSync, objects: readonly SchemaObject[]): void {
  for (const object of objects)
    try {
      db.exec(object.sql);
    } catch {
      // A shadow table that is there, or what only the application's SQLite knows: a trigger that needs it says so.
    }
}

function observeOne(
  db: DatabaseSync,
  object: SchemaObject,
  isThere: boolean,
  isKey: (table: string, column: string) => boolean,
  standIns: Set<string>,
): Observed {
  const name = foldName(object.name);
  const event = eventOf(object.sql);
  const writes: [number, string, string][] = [];
  const functions = new Set<string>();
  let fired = false;
  let error = "";
  try {
    if (!isThere) db.exec(object.sql);
    for (const sql of firing(db, object.tableName, event)) {
      db.setAuthorizer((action, a, b, _database, trigger) => {
        if (!isSameName(trigger, name)) return constants.SQLITE_OK;
        fired = true;
        if (action === constants.SQLITE_FUNCTION && standIns.has(foldName(b ?? ""))) functions.add(b!);
        writes.push([action, foldName(a ?? ""), b ?? ""]);
        return constants.SQLITE_OK;
      });
      try {
        prepareWithStandIns(db, sql, standIns);
      } catch (cause) {
        const message = cause instanceof Error ? cause.message : String(cause);
        // Of a view, where other triggers are compiled, too, and which none may watch for these columns.
        const isOthers = isThere && (fired || message.includes("because it is a view"));
        if (!isOthers) error = message;
      }
    }
  } catch (cause) {
    error = cause instanceof Error ? cause.message : String(cause);
  } finally {
    db.setAuthorizer(null);
    if (!isThere) db.exec(`DROP TRIGGER IF EXISTS ${quoteIdentifier(object.name)}`);
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
    moves: new Set(updated.flatMap(([, table, column]) => (isKey(table, column) ? [table] : []))),
    functions,
    error,
  };
}

/** What only the application's connections have is given as a function that does nothing: what it is called for is seen all the same. */
function prepareWithStandIns(db: DatabaseSync, sql: string, standIns: Set<string>): void {
  for (;;)
    try {
      db.prepare(sql);
      return;
    } catch (cause) {
      const name = /^no such function: ([^]+)$/.exec(errorMessage(cause))?.[1];
      if (name === undefined || standIns.has(foldName(name))) throw cause;
      standIns.add(foldName(name));
      db.function(name, { varargs: true }, () => null);
    }
}

/** The first of the three words outside of quotes and comments: a name must be quoted to be one of them. */
function eventOf(sql: string): TriggerEvent {
  for (const { word } of bareWords(sql))
    if (word === "INSERT" || word === "UPDATE" || word === "DELETE") return word;
  throw new Error(`expected a CREATE TRIGGER with its event, got ${JSON.stringify(sql)}`);
}

/**
 * Statements that together fire every trigger of the table for the event. What an UPDATE fires is decided by the names that it
 * sets: a trigger OF a generated column, or of one that there is not, never fires, whatever happens to the row.
 */
function firing(db: DatabaseSync, table: string, event: TriggerEvent): string[] {
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
