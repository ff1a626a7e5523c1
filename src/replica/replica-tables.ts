/** The application's tables in the replica, under the schema in force: access to rows, routing, schema versions. */
import type { DatabaseSync } from "node:sqlite";
import { assert } from "../base/assert.ts";
import { type BatchHead, tablesIn } from "../change/codec.ts";
import { type KeyId, keyIdOf } from "../change/key.ts";
import type { TableShape } from "../change/shape.ts";
import type { Image, Value } from "../change/value.ts";
import { exactRows } from "../rows/exact-rows.ts";
import { exactKey, exactKeyColumns, prepareExact } from "../rows/exact-values.ts";
import { RowAccess } from "../rows/row-access.ts";
import { quoteIdentifier } from "../sqlite/quote.ts";
import type { ReplicaSchema } from "./migrate/migration-components.ts";
import { readRouting, type RowRouting } from "./store/row-routing.ts";
import type { ReplicaSettings } from "./store/settings.ts";
import { integer, readRows } from "../sqlite/typed-rows.ts";

export class ReplicaTables {
  readonly #db: DatabaseSync;
  #settings: ReplicaSettings;
  #shapes: ReadonlyMap<number, TableShape>;
  #routing: RowRouting;
  #access: ReadonlyMap<number, RowAccess>;
  /** Table ⇒ the newest schema version at which its rows changed their shape or shard. */
  #versions: ReadonlyMap<number, number>;

  constructor(db: DatabaseSync, schema: ReplicaSchema) {
    this.#db = db;
    [this.#settings, this.#shapes, this.#routing, this.#access, this.#versions] = this.#read(schema);
  }

  /** Another schema is in force. */
  reopen(schema: ReplicaSchema): void {
    [this.#settings, this.#shapes, this.#routing, this.#access, this.#versions] = this.#read(schema);
  }

  #read({
    settings,
    shapes,
  }: ReplicaSchema): [
    ReplicaSettings,
    Map<number, TableShape>,
    RowRouting,
    Map<number, RowAccess>,
    Map<number, number>,
  ] {
    const versions = this.#db.prepare(`SELECT "tbl", "version" FROM "__marmot__table_version"`);
    return [
      settings,
      new Map(shapes.map((s) => [s.id, s])),
      readRouting(this.#db, shapes, settings),
      new Map(shapes.map((s) => [s.id, new RowAccess(this.#db, s, settings.encoding)])),
      new Map(readRows(versions.all(), { tbl: integer, version: integer }).map((r) => [r.tbl, r.version])),
    ];
  }

  get settings(): ReplicaSettings {
    return this.#settings;
  }

  get shapes(): ReadonlyMap<number, TableShape> {
    return this.#shapes;
  }

  get access(): ReadonlyMap<number, RowAccess> {
    return this.#access;
  }

  accessTo(table: number): RowAccess {
    const access = this.#access.get(table);
    assert(access !== undefined, `table ${table} is replicated`);
    return access;
  }

  row(table: number, key: readonly Value[]): Value[] | null {
    return this.accessTo(table).get(key);
  }

  /** All rows of a table, in the order of the key. The replica must not change until the last one is read. */
  rows(table: number): Iterable<Image> {
    return exactRows(this.#db, this.#shapes.get(table)!, this.#settings.encoding);
  }

  /** The keys of all rows of a table. */
  keys(table: number): KeyId[] {
    const shape = this.#shapes.get(table)!;
    const columns = shape.key.map((k) => quoteIdentifier(shape.columns[k]!.name));
    const rows = prepareExact(
      this.#db,
      `SELECT ${exactKeyColumns(shape, columns)} FROM main.${quoteIdentifier(shape.name)}`,
    );
    return rows.all().map((row) => keyIdOf(shape, exactKey(shape, row, this.#settings.encoding)));
  }

  shardOfKey(table: number, keyId: KeyId): number {
    return this.#routing.shardOf(this.#shapes.get(table)!, keyId);
  }

  /** The batch touches a table that was dropped, or that changed after the batch's schema version. */
  touchesChanged(head: BatchHead): boolean {
    return tablesIn(head).some(
      (table) => !this.#shapes.has(table) || (this.#versions.get(table) ?? 0) > head.schemaVersion,
    );
  }
}
