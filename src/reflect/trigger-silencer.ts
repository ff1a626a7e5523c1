/**
 * Triggers while Marmot writes the app database. Their writes to replicated tables are ignored, since those arrive as rows;
 * their writes to other tables happen. Marmot's own triggers do nothing. The authorizer cannot silence a trigger that
 * deletes: Marmot drops it inside its own write transaction and re-creates it before the commit.
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
  #triggers: UserTriggers;
  /** The schema that `#triggers` was read from, as JSON. */
  #schema = "";
  #cookie: unknown;
  /** Tables that were prepared for writing in the open transaction. */
  readonly #prepared = new Set<string>();
  /** Dropped triggers, with their place in the schema, which is the order in which triggers fire. */
  readonly #suspended = new Map<string, UserTrigger & { readonly place: bigint }>();

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
    this.#triggers = this.#classify(this.#readSchema());
    this.#silence();
  }

  /** From now on these are the names of the tables that replicate. */
  replicate(names: readonly string[]): void {
    this.#replicated = names;
    this.#cookie = this.#readCookie();
    this.#triggers = this.#classify(this.#readSchema());
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
    this.#db.setAuthorizer((action, table, ...[, , trigger]) =>
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

  #classify(schema: readonly SchemaObject[]): UserTriggers {
    this.#schema = JSON.stringify(schema);
    addStandIns(this.#db, schema);
    return classifyTriggers(schema, this.#replicated);
  }

  #authorize(action: number, table: string, name: string): number {
    const { SQLITE_OK, SQLITE_IGNORE, SQLITE_DENY, SQLITE_FUNCTION } = constants;
    // A function cannot be ignored, only denied. The use of its result is authorized separately.
    if (action === SQLITE_FUNCTION) return SQLITE_OK;
    const trigger = this.#triggers.byName.get(foldName(name));
    if (trigger === undefined) {
      if (isOwn(name)) return SQLITE_IGNORE;
      // A view that a trigger reads is reported under the view's name.
      return this.#triggers.isView(name) && !WRITES.has(action) ? SQLITE_OK : SQLITE_DENY;
    }
    if (trigger.mode === "dropped") return SQLITE_DENY;
    if (trigger.mode === "silent") return SQLITE_IGNORE;
    return WRITES.has(action) && this.#triggers.isReplicated(table) ? SQLITE_IGNORE : SQLITE_OK;
  }

  /** At the beginning of a transaction: reads the triggers again if the schema changed. */
  begin(): void {
    this.#prepared.clear();
    this.#suspended.clear();
    const cookie = this.#readCookie();
    if (cookie === this.#cookie) return;
    this.#cookie = cookie;
    const schema = this.#readSchema();
    if (JSON.stringify(schema) === this.#schema) return; // a VACUUM, or re-created triggers
    this.#triggers = this.#classify(schema);
  }

  /** Before the first write of a table in a transaction. */
  prepare(table: string): void {
    if (this.#prepared.has(table)) return;
    this.#prepared.add(table);
    for (const trigger of this.#triggers.reachedFrom(table)) {
      if (trigger.mode !== "dropped" || this.#suspended.has(trigger.name)) continue;
      const { place } = this.#place.get(trigger.name) as { place: bigint };
      this.#suspended.set(trigger.name, { ...trigger, place });
      this.#db.exec(`DROP TRIGGER ${quoteIdentifier(trigger.name)}`);
    }
  }

  /**
   * Re-creates suspended triggers before the commit; a rollback restores them itself. A re-created trigger is the newest and
   * would fire before Marmot's own: if it fails under OR FAIL, a row would stay that was not captured.
   */
  restore(): void {
    if (this.#suspended.size === 0) return;
    for (const { sql } of this.#suspended.values()) this.#db.exec(sql);
    this.#db.enableDefensive(false);
    this.#db.exec("PRAGMA writable_schema = ON");
    try {
      const move = this.#db.prepare(
        "UPDATE main.sqlite_schema SET rowid = ? WHERE type = 'trigger' AND name = ?",
      );
      for (const { name, place } of this.#suspended.values()) move.run(place, name);
    } finally {
      this.#db.exec("PRAGMA writable_schema = OFF");
      this.#db.enableDefensive(true);
    }
    this.#suspended.clear();
    this.#cookie = this.#readCookie();
  }

  /** Writing the table fires triggers with effects: only real changes may be written. */
  fires(table: string): boolean {
    return this.#triggers.passes(table);
  }
}
