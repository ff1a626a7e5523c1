/** One migration of one file: its catalogues before and after, the file's schema, and the results that its steps collect. */
import { foldName } from "../../base/names.ts";
import type { DatabaseSync } from "node:sqlite";
import { UserError } from "../../base/errors.ts";
import { queryOf } from "../../sqlite/query.ts";
import { readTable, type SchemaObject } from "../../sqlite/schema.ts";
import { isOwn } from "../catalogue.ts";
import type { ColumnOrigin, RejectedRow, SchemaChange, SchemaState } from "../diff/change.ts";
import { tablesOf } from "../diff/diff.ts";
import { changeCatalogue, followTables, type TableLineage } from "../diff/evolve.ts";
import { isVirtual, withoutShadowTables } from "../virtual-tables.ts";
import { constraintOf } from "./copy-rows.ts";
import { type Rank, RejectedRows } from "./constraint-rejects.ts";
import { SchemaWriter } from "./schema-writer.ts";

export interface MigrationOptions {
  /** "app-db": the application's file, with all objects. "replica": only replicated tables and UNIQUE indexes exist. */
  readonly role: "app-db" | "replica";
  /** Replica: whether a table that a change creates exists there. Default: all but virtual ones. */
  readonly replicates?: (table: string) => boolean;
  /**
   * Of rows that clash the one with the greatest rank is kept, of equals the one with the greatest key. `key`: the primary
   * key's values before the change, or the rowid.
   */
  readonly rank?: Rank;
  readonly rejected?: (row: RejectedRow) => void;
}

/** A table that exists before and after. */
export interface KeptTable {
  readonly from: string;
  readonly to: string;
  readonly columns: readonly ColumnOrigin[];
}

const SQLITE_ERROR = 1;

/** SQLite refuses the statement and changed nothing. Any other error has nothing to do with the schema. */
export function isRefusal(error: unknown): boolean {
  if (error instanceof UserError) return true;
  return constraintOf(error) !== null || (error as { errcode?: unknown }).errcode === SQLITE_ERROR;
}

export class Migration {
  readonly db: DatabaseSync;
  readonly file: SchemaWriter;
  readonly #options: MigrationOptions;
  readonly before: SchemaState;
  readonly after: SchemaState;
  /** Tables of `after`, by name in lower case. */
  readonly tables: ReadonlyMap<string, SchemaObject>;
  /** Of the tables that this file has or gets. */
  readonly lineages: readonly TableLineage[];
  /** By the table's name afterwards, in lower case. */
  readonly #rejected = new Map<string, number>();
  /** Tables (names afterwards, lower case) that lost Marmot's triggers. */
  readonly #uncaptured = new Set<string>();

  constructor(input: {
    readonly db: DatabaseSync;
    readonly state: SchemaState;
    readonly changes: readonly SchemaChange[];
    readonly options: MigrationOptions;
  }) {
    const { db, state, changes, options } = input;
    this.db = db;
    this.file = new SchemaWriter(db);
    this.#options = options;
    this.before = { ...state, objects: withoutShadowTables(state.objects) };
    this.after = changeCatalogue(state, changes);
    this.tables = tablesOf(this.after);
    this.lineages = followTables(state, changes).filter((l) => this.#isInFile(l));
  }

  get isAppDb(): boolean {
    return this.#options.role === "app-db";
  }

  /** Whether the file has the table or gets it. */
  #isInFile({ from, to }: TableLineage): boolean {
    if (this.isAppDb) return true;
    if (from !== null) return this.file.text("table", from) !== null;
    const object = this.tables.get(foldName(to!))!;
    return !isVirtual(object) && (this.#options.replicates?.(object.name) ?? true);
  }

  /** Tables without Marmot's triggers, in the order of the schema. */
  get uncaptured(): string[] {
    return [...this.tables.values()].flatMap((t) => (this.#uncaptured.has(foldName(t.name)) ? [t.name] : []));
  }

  /** Drops Marmot's triggers and indexes on tables. `nameAfter`: the table's name afterwards, if its capture must be reported. */
  dropOwn(isTouched: (table: string) => boolean, nameAfter: (table: string) => string | null): void {
    const sql = "SELECT type, name, tbl_name FROM main.sqlite_schema WHERE type IN ('trigger', 'index')";
    for (const [type, name, table] of queryOf(this.db)(sql)) {
      if (!isOwn(String(name)) || isOwn(String(table)) || !isTouched(String(table))) continue;
      this.file.drop(type as "trigger" | "index", String(name));
      const now = nameAfter(String(table));
      if (now !== null) this.#uncaptured.add(foldName(now));
    }
  }

  /** Marmot's own indexes of one table of a replica. */
  dropOwnOf(table: string): void {
    this.dropOwn(
      (t) => foldName(t) === foldName(table),
      () => null,
    );
  }

  /** `present`: the table's name at the moment. */
  rowsOf(present: string, from: string, to: string): RejectedRows {
    const table = readTable(queryOf(this.db), present);
    const { rank, rejected: report } = this.#options;
    return new RejectedRows(this.db, table, { from, to, rank, report });
  }

  countRejects(table: string, rows: RejectedRows): void {
    if (rows.count > 0) this.#rejected.set(foldName(table), this.rejectedOf(table) + rows.count);
  }

  rejectedOf(table: string): number {
    return this.#rejected.get(foldName(table)) ?? 0;
  }

  /** Tables of which rows were rejected, in lower case. */
  get rejectingTables(): Iterable<string> {
    return this.#rejected.keys();
  }
}
