/**
 * Triggers while Marmot writes the application's file. What a trigger writes to replicated tables is ignored, since it
 * arrives as rows; what it writes to other tables happens. Marmot's own do nothing. A trigger that no authorizer can
 * silence (it deletes) is away while a table that fires it is written, and back before the transaction ends.
 */
import { foldName } from "../base/names.ts";
import { constants, type DatabaseSync, type StatementSync } from "node:sqlite";
import { isOwn, readCatalogue } from "../schema/catalogue.ts";
import { addStandIns } from "../schema/classify/writable.ts";
import { classifyTriggers, type UserTrigger, type UserTriggers } from "../schema/triggers.ts";
import type { SchemaObject } from "../sqlite/schema.ts";
import { queryOf } from "../sqlite/query.ts";
import { quoteIdentifier } from "../sqlite/quote.ts";

const WRITES: ReadonlySet<number> = new Set([
  constants.SQLITE_INSERT,
  constants.SQLITE_UPDATE,
  constants.SQLITE_DELETE,
]);

export class TriggerSilencer {
  readonly #db: DatabaseSync;
  #replicated: readonly string[];
  readonly #version: StatementSync;
  readonly #place: StatementSync;
  #judged: UserTriggers;
  /** What was judged. */
  #schema = "";
  #cookie: unknown;
  /** Tables that were prepared for writing in the open transaction. */
  readonly #prepared = new Set<string>();
  /** With their place in the schema, which is the order in which triggers fire. */
  readonly #away = new Map<string, UserTrigger & { readonly place: bigint }>();

  /** `replicated`: the names of the tables. From now on the connection's triggers are silenced. */
  constructor(db: DatabaseSync, replicated: readonly string[]) {
    this.#db = db;
    this.#replicated = replicated;
    this.#version = db.prepare("PRAGMA schema_version");
    this.#place = db.prepare(
      "SELECT rowid AS place FROM main.sqlite_schema WHERE type = 'trigger' AND name = ?",
    );
    this.#place.setReadBigInts(true);
    this.#cookie = this.#readCookie();
    this.#judged = this.#judge(this.#readSchema());
    this.#silence();
  }

  /** From now on these are the names of the tables that replicate. */
  replicate(names: readonly string[]): void {
    this.#replicated = names;
    this.#cookie = this.#readCookie();
    this.#judged = this.#judge(this.#readSchema());
  }

  /** Runs `change`, which changes the schema, with every trigger in force. */
  asApplication<T>(change: () => T): T {
    this.#db.setAuthorizer(null);
    try {
      return change();
    } finally {
      this.#silence();
    }
  }

  #silence(): void {
    this.#db.setAuthorizer((action, table, _column, _database, trigger) =>
      trigger === null || trigger === undefined
        ? constants.SQLITE_OK
        : this.#authorize(action, table ?? "", trigger),
    );
  }

  #readCookie(): unknown {
    return Object.values(this.#version.get() as Record<string, unknown>)[0];
  }

  #readSchema(): SchemaObject[] {
    return [...readCatalogue(queryOf(this.#db)).objects];
  }

  #judge(schema: readonly SchemaObject[]): UserTriggers {
    this.#schema = JSON.stringify(schema);
    addStandIns(this.#db, schema);
    return classifyTriggers(schema, this.#replicated);
  }

  #authorize(action: number, table: string, name: string): number {
    const { SQLITE_OK, SQLITE_IGNORE, SQLITE_DENY, SQLITE_FUNCTION } = constants;
    // Only to be denied, not ignored; what is done with its result is what counts.
    if (action === SQLITE_FUNCTION) return SQLITE_OK;
    const trigger = this.#judged.byName.get(foldName(name));
    if (trigger === undefined) {
      if (isOwn(name)) return SQLITE_IGNORE;
      // A view that a trigger reads comes under the view's name.
      return this.#judged.isView(name) && !WRITES.has(action) ? SQLITE_OK : SQLITE_DENY;
    }
    if (trigger.mode === "dropped") return SQLITE_DENY;
    if (trigger.mode === "silent") return SQLITE_IGNORE;
    return WRITES.has(action) && this.#judged.isReplicated(table) ? SQLITE_IGNORE : SQLITE_OK;
  }

  /** At the beginning of a transaction: triggers that were made since the last time are judged, too. */
  begin(): void {
    this.#prepared.clear();
    this.#away.clear();
    const cookie = this.#readCookie();
    if (cookie === this.#cookie) return;
    this.#cookie = cookie;
    const schema = this.#readSchema();
    if (JSON.stringify(schema) === this.#schema) return; // a VACUUM, or triggers that were away
    this.#judged = this.#judge(schema);
  }

  /** Before the first write of a table in a transaction. */
  prepare(table: string): void {
    if (this.#prepared.has(table)) return;
    this.#prepared.add(table);
    for (const trigger of this.#judged.reachedFrom(table)) {
      if (trigger.mode !== "dropped" || this.#away.has(trigger.name)) continue;
      const { place } = this.#place.get(trigger.name) as { place: bigint };
      this.#away.set(trigger.name, { ...trigger, place });
      this.#db.exec(`DROP TRIGGER ${quoteIdentifier(trigger.name)}`);
    }
  }

  /**
   * Before the commit. A rollback brings them back by itself. Made anew they would be the youngest and fire before
   * Marmot's own: one that fails under OR FAIL would then leave a row behind that was not recorded.
   */
  restore(): void {
    if (this.#away.size === 0) return;
    for (const { sql } of this.#away.values()) this.#db.exec(sql);
    this.#db.enableDefensive(false);
    this.#db.exec("PRAGMA writable_schema = ON");
    try {
      const move = this.#db.prepare(
        "UPDATE main.sqlite_schema SET rowid = ? WHERE type = 'trigger' AND name = ?",
      );
      for (const { name, place } of this.#away.values()) move.run(place, name);
    } finally {
      this.#db.exec("PRAGMA writable_schema = OFF");
      this.#db.enableDefensive(true);
    }
    this.#away.clear();
    this.#cookie = this.#readCookie();
  }

  /** Writing the table fires triggers that do something: only what really changes may be written. */
  fires(table: string): boolean {
    return this.#judged.passes(table);
  }
}
