/**
 * A change of the schema takes effect in the replica, in the transaction of its entry: the tables, the catalogue, and all
 * that the replica keeps about rows of tables that are another thing now. Deterministic but for what is this node's own.
 */
import { foldName, isSameName } from "../base/names.ts";
import type { DatabaseSync } from "node:sqlite";
import { encodeImage, decodeImage, imageHash } from "../change/codec.ts";
import type { ChangedRows } from "../change/changed-rows.ts";
import { type KeyId, keyIdOf, keyIdOfImage, keyOfImage, keyValues } from "../change/key.ts";
import type { Image, Value } from "../change/value.ts";
import type { TableShape } from "../change/shape.ts";
import { applySchemaChanges, type AppliedTable } from "../schema/changes/apply.ts";
import type { LeftOutRow, SchemaState } from "../schema/changes/change.ts";
import { followTables } from "../schema/changes/follow.ts";
import { exactRows } from "../schema/exact-rows.ts";
import { readForeignKeys } from "../schema/foreign-keys.ts";
import type { LostRows, SchemaEntry } from "../schema/schema-entry.ts";
import { RowAccess } from "../schema/row-access.ts";
import { shapeOf } from "../schema/shape.ts";
import { queryOf } from "../sqlite/query.ts";
import { quoteIdentifier } from "../sqlite/quote.ts";
import { readTable } from "../sqlite/schema.ts";
import type { ChangesetContext, LastWrite } from "./apply-rows.ts";
import type { Births } from "./births.ts";
import type { Checksums } from "./checksums.ts";
import { indexForeignKeys } from "./foreign-key.ts";
import { type ColumnPlaces, ImageMap, isSameImage } from "./image-map.ts";
import type { Journal } from "./journal.ts";
import type { Origins } from "./origins.ts";
import type { OldestReference, References } from "./references.ts";
import { readRouting, type RowRouting } from "./row-shard.ts";
import { type CatalogueObject, readObjectsOf, readShapes, stateOf, writeObjects } from "./schema.ts";
import type { ReplicaSettings } from "./settings.ts";
import { REPLICA_FORMAT } from "./tables.ts";

export interface SchemaChangeComponents {
  readonly journal: Journal;
  readonly references: References;
  readonly checksums: Checksums;
  readonly changed: ChangedRows;
  readonly births: Births;
  readonly origins: Origins;
  readonly last: (table: number, keyId: KeyId) => LastWrite | null;
}

/** How the replica stands before an entry, and after it. */
export interface ReplicaSchema {
  readonly settings: ReplicaSettings;
  readonly shapes: readonly TableShape[];
}

/** A row that a constraint left no room for. */
export interface LeftOutKey {
  /** The table's id before the change. */
  readonly table: number;
  readonly key: readonly Value[];
}

export interface ChangedSchema extends ReplicaSchema {
  readonly leftOut: readonly LeftOutKey[];
}

/** Rows hashed between two yields. */
const SLICE = 1000;

/** A reference that equals no image: what the row was is unknown, so whatever is pending is sent. */
const UNKNOWN = encodeImage([]);

/** A table that replicated before, and what it is now. */
interface Fate {
  readonly before: TableShape;
  /** null: it is gone, or its rows have other identities. */
  readonly after: TableShape | null;
  readonly places: ColumnPlaces;
}

/** Inside the entry's transaction. `peer`: who made it. Yields now and then; returns what holds from now on. */
export function* changeSchema(
  db: DatabaseSync,
  before: ReplicaSchema,
  entry: SchemaEntry,
  peer: string,
  bytes: Uint8Array,
  context: ChangesetContext,
  components: SchemaChangeComponents,
): Generator<void, ChangedSchema> {
  const { settings } = before;
  const objects = readObjectsOf(db);
  const routingBefore = readRouting(db, before.shapes, settings);
  const keysBefore = foreignKeyTexts(db, before.shapes);
  const shapeNamed = new Map(before.shapes.map((s) => [foldName(s.name), s]));
  const local = new Set(entry.local.map(foldName));
  const leftOut: LeftOutRow[] = [];
  const unseen = unseenRows(db, before, entry, objects, components);
  const applied = applySchemaChanges(db, entry.changes, {
    role: "replica",
    state: stateOf(objects, settings),
    replicates: (table) => !local.has(foldName(table)),
    rank: (table, key) => rankOf(shapeNamed.get(foldName(table)), key, components),
    leftOut: (row) => void leftOut.push(row),
  });
  const version = settings.schemaVersion + 1;
  const next = numberObjects(db, objects, applied.state, applied.tables, { before: shapeNamed, local });
  writeObjects(db, next);
  const set = db.prepare(`INSERT OR REPLACE INTO "__marmot__setting" VALUES(?, ?)`);
  const { userVersion, applicationId } = applied.state;
  for (const [name, value] of [
    ["format", REPLICA_FORMAT],
    ["schema_version", version],
    ["user_version", userVersion],
    ["application_id", applicationId],
  ] as const)
    set.run(name, BigInt(value));
  db.prepare(`INSERT INTO "__marmot__schema" VALUES(?, ?, ?)`).run(version, peer, bytes);
  const after: ReplicaSchema = {
    settings: { ...settings, schemaVersion: version, userVersion, applicationId },
    shapes: readShapes(db),
  };
  if (entry.lost !== null) noteLost(entry.lost, context, components);
  const seen = new SeenRows(db, context, components.last);
  const leftOutKeys = leftOut.flatMap((row): LeftOutKey[] => {
    const shape = shapeNamed.get(foldName(row.from));
    return shape === undefined ? [] : [noteLeftOut(db, shape, row, context, components, seen)];
  });
  const fates = fatesOf(before.shapes, after.shapes, applied.tables);
  const keysAfter = foreignKeyTexts(db, after.shapes);
  const routing = readRouting(db, after.shapes, after.settings);
  const stamp = db.prepare(`INSERT OR REPLACE INTO "__marmot__table_version" VALUES(?, ?)`);
  const known = new Set(before.shapes.map((s) => s.id));
  for (const shape of after.shapes) {
    if (known.has(shape.id)) continue;
    stamp.run(shape.id, version);
    // Not empty where the rows of a table are named anew.
    yield* sumAnew(db, shape, routing, settings, components.checksums);
  }
  for (const fate of fates) {
    const { id } = fate.before;
    const same = fate.after !== null && isSameImage(fate.before, fate.after, fate.places);
    const moved = fate.after !== null && routingBefore.wayOf(fate.before) !== routing.wayOf(fate.after);
    if (!same || moved) stamp.run(id, version);
    // Whole changesets have one watermark a log, whatever the shard.
    if (moved && settings.transactions === "row") components.origins.meet(id, settings.shards);
    if (keysBefore.get(id) !== keysAfter.get(id)) forgetForeignKeys(db, id);
    if (fate.after === null) {
      const table = applied.tables.find((t) => isSameName(t.from, fate.before.name));
      const named = after.shapes.find((s) => isSameName(s.name, table?.to));
      if (named !== undefined)
        nameAnew(db, fate.before, named, table, unseen.get(id) ?? [], settings.encoding, components);
      forgetTable(db, id, components);
    }
    if (fate.after !== null && !same) carryRows(db, fate, fate.after, settings.encoding, components);
    if (fate.after !== null && (!same || moved || leftOut.length > 0))
      yield* sumAnew(db, fate.after, routing, settings, components.checksums);
  }
  indexForeignKeys(db, readForeignKeys(queryOf(db), after.shapes));
  return { ...after, leftOut: leftOutKeys };
}

/** A row that others changed and the live file may not show: as it was, and as it is. */
interface UnseenRow extends OldestReference {
  readonly now: Image | null;
}

/** Before the change: by table, of those whose rows may be named otherwise by it. */
function unseenRows(
  db: DatabaseSync,
  { shapes, settings }: ReplicaSchema,
  { changes }: SchemaEntry,
  objects: readonly CatalogueObject[],
  { references }: SchemaChangeComponents,
): Map<number, UnseenRow[]> {
  const altered = new Set(
    followTables(stateOf(objects, settings), changes).flatMap(({ from }) =>
      from === null ? [] : [foldName(from)],
    ),
  );
  return new Map(
    shapes
      .filter(({ name }) => altered.has(foldName(name)))
      .map((shape) => {
        const access = new RowAccess(db, shape, settings.encoding);
        const rows = [...references.oldest(shape.id)];
        return [shape.id, rows.map((r) => ({ ...r, now: access.get(keyValues(shape, r.keyId)) }))] as const;
      }),
  );
}

/** What is known of the table's rows under their older names goes on under those that they have now. */
function nameAnew(
  db: DatabaseSync,
  before: TableShape,
  after: TableShape,
  table: AppliedTable | undefined,
  rows: readonly UnseenRow[],
  encoding: string,
  { references, changed }: SchemaChangeComponents,
): void {
  const { sql } = db
    .prepare(`SELECT "sql" FROM main.sqlite_schema WHERE type = 'table' AND name = ?`)
    .get(after.name) as { sql: string };
  const images = new ImageMap(sql, after, placesOf(before, after, table), encoding);
  try {
    for (const { shard, index, image, now } of rows) {
      const [was, is] = [image, now].map((i) => (i === null ? null : images.map(i)));
      const keys = [was, is].map((i) => (i === null || i === undefined ? null : keyIdOfImage(after, i)));
      if (was !== null && was !== undefined)
        references.add(after.id, keys[0]!, shard, index, encodeImage(was));
      if (keys[1] !== null && keys[1] !== keys[0]) references.add(after.id, keys[1]!, shard, index, null);
      for (const [i, row] of [was, is].entries())
        if (row !== null && row !== undefined) {
          changed.set(after.id, keys[i]!, { key: keyOfImage(after, row), image: null });
          changed.lookUp(after.id);
        }
    }
  } finally {
    images.close();
  }
}

/** Of two rows that clash under the new schema the one written later in the order stays. */
function rankOf(
  shape: TableShape | undefined,
  key: Parameters<typeof keyIdOf>[1],
  { last }: SchemaChangeComponents,
): number {
  return shape === undefined ? 0 : (last(shape.id, keyIdOf(shape, key))?.index ?? 0);
}

const keyText = ({ key, columns, keyCollations }: TableShape, name: (column: number) => string): string =>
  JSON.stringify([key.map(name), keyCollations, key.map((k) => columns[k]!.affinity)]);

const placesOf = (before: TableShape, after: TableShape, table: AppliedTable | undefined): ColumnPlaces => {
  if (table === undefined) return after.columns.map((_, i) => i);
  const place = new Map(before.columns.map((c, i) => [foldName(c.name), i]));
  const origin = new Map(table.columns.map(([column, from]) => [foldName(column), from]));
  // The rowid is no stored column, and may go by another name when a column takes its.
  if (before.rowidKey && after.rowidKey) {
    place.delete(foldName(before.columns[0]!.name));
    return after.columns.map((c, i) =>
      i === 0 ? 0 : (place.get(foldName(origin.get(foldName(c.name)) ?? "\0")) ?? null),
    );
  }
  return after.columns.map((c) => place.get(foldName(origin.get(foldName(c.name)) ?? "")) ?? null);
};

/** Rows are still named by what named them. */
function sameKey(before: TableShape, after: TableShape, places: ColumnPlaces): boolean {
  if (before.rowidKey !== after.rowidKey) return false;
  if (after.rowidKey) return true;
  const nowCalled = (column: number): string => after.columns[places.indexOf(column)]?.name ?? "";
  return keyText(before, nowCalled) === keyText(after, (column) => after.columns[column]!.name);
}

/** Gives every table its id: the one it had, if its rows are still named alike, or a fresh one. */
function numberObjects(
  db: DatabaseSync,
  objects: readonly CatalogueObject[],
  state: SchemaState,
  tables: readonly AppliedTable[],
  { before, local }: { before: ReadonlyMap<string, TableShape>; local: ReadonlySet<string> },
): CatalogueObject[] {
  const ids = new Map(objects.map((o) => [`${o.kind}/${foldName(o.name)}`, o.tableId]));
  const byTo = new Map(tables.flatMap((t) => (t.to === null ? [] : [[foldName(t.to), t] as const])));
  const highest = db
    .prepare(
      `SELECT max(coalesce((SELECT max("table_id") FROM "__marmot__object"), 0), coalesce((SELECT max("tbl") FROM "__marmot__table_version"), 0)) AS id`,
    )
    .get() as { id: number };
  let next = highest.id + 1;
  const query = queryOf(db);
  return state.objects.map((object) => {
    if (object.kind !== "table") return { ...object, tableId: null };
    const table = byTo.get(foldName(object.name));
    if (table === undefined) return { ...object, tableId: ids.get(`table/${foldName(object.name)}`) ?? null };
    if (table.from === null)
      return {
        ...object,
        tableId: local.has(foldName(object.name)) || isVirtual(object.sql) ? null : next++,
      };
    const id = ids.get(`table/${foldName(table.from)}`) ?? null;
    const shape = before.get(foldName(table.from));
    if (id === null || shape === undefined) return { ...object, tableId: id };
    const now = shapeOf(readTable(query, object.name), id);
    return { ...object, tableId: sameKey(shape, now, placesOf(shape, now, table)) ? id : next++ };
  });
}

const isVirtual = (sql: string): boolean => /^\s*CREATE\s+VIRTUAL\b/i.test(sql);

function fatesOf(
  before: readonly TableShape[],
  after: readonly TableShape[],
  tables: readonly AppliedTable[],
): Fate[] {
  const byId = new Map(after.map((s) => [s.id, s]));
  const byFrom = new Map(tables.flatMap((t) => (t.from === null ? [] : [[foldName(t.from), t] as const])));
  return before.map((shape) => {
    const now = byId.get(shape.id) ?? null;
    const table = byFrom.get(foldName(shape.name));
    return { before: shape, after: now, places: now === null ? [] : placesOf(shape, now, table) };
  });
}

/** Table id ⇒ its declared foreign keys, as a text. */
function foreignKeyTexts(db: DatabaseSync, shapes: readonly TableShape[]): Map<number, string> {
  const texts = new Map<number, string>();
  for (const { child, parent, number, columns, parentColumns } of readForeignKeys(queryOf(db), shapes)) {
    const text = JSON.stringify([
      number,
      columns.map((c) => child.columns[c]!.name),
      parent.id,
      parentColumns.map((c) => parent.columns[c]!.name),
    ]);
    texts.set(child.id, `${texts.get(child.id) ?? ""}${text}`);
  }
  return texts;
}

/** What is known of references by their numbers: they are other references now. */
function forgetForeignKeys(db: DatabaseSync, table: number): void {
  for (const name of ["attached", "orphan"])
    db.prepare(`DELETE FROM "__marmot__${name}" WHERE "tbl" = ?`).run(table);
  const indexes = db
    .prepare(`SELECT name FROM main.sqlite_schema WHERE type = 'index' AND name LIKE ? ESCAPE '\\'`)
    .all(`\\_\\_marmot\\_\\_fk\\_${table}\\_%`) as { name: string }[];
  for (const { name } of indexes) db.exec(`DROP INDEX ${quoteIdentifier(name)}`);
}

function forgetTable(
  db: DatabaseSync,
  table: number,
  { references, checksums, changed, births }: SchemaChangeComponents,
): void {
  for (const name of ["column", "attached", "orphan", "stray", "birth", "rowid", "moved"])
    db.prepare(`DELETE FROM "__marmot__${name}" WHERE "tbl" = ?`).run(table);
  references.forgetTable(table);
  checksums.forget(table);
  changed.forgetTable(table);
  births.forgetTable(table);
}

/** What is kept of the table's rows becomes what the rows became. */
function carryRows(
  db: DatabaseSync,
  { places }: Fate,
  after: TableShape,
  encoding: string,
  { references, journal, changed }: SchemaChangeComponents,
): void {
  const { sql } = db
    .prepare(`SELECT "sql" FROM main.sqlite_schema WHERE type = 'table' AND name = ?`)
    .get(after.name) as { sql: string };
  const images = new ImageMap(sql, after, places, encoding);
  try {
    references.carry(after.id, (bytes) => {
      const image = images.map(decodeImage(bytes));
      return image === null ? UNKNOWN : encodeImage(image);
    });
    journal.carry(after.id, (bytes) => {
      const image = decodeImage(bytes);
      return encodeImage(
        images.map(image) ?? places.map((from) => (from === null ? null : (image[from] ?? null))),
      );
    });
  } finally {
    images.close();
  }
  changed.lookUp(after.id);
  carryColumnWrites(db, after.id, places);
}

/** Where columns were last written is kept by their places. */
function carryColumnWrites(db: DatabaseSync, table: number, places: ColumnPlaces): void {
  const rows = db.prepare(`SELECT "key", "writes" FROM "__marmot__column" WHERE "tbl" = ?`).all(table) as {
    key: KeyId;
    writes: string;
  }[];
  const put = db.prepare(`UPDATE "__marmot__column" SET "writes" = ? WHERE "tbl" = ? AND "key" = ?`);
  for (const { key, writes } of rows) {
    const entry = JSON.parse(writes) as { columns: Record<string, unknown> };
    const columns: Record<string, unknown> = {};
    places.forEach((from, i) => {
      if (from !== null && String(from) in entry.columns) columns[i] = entry.columns[from];
    });
    put.run(JSON.stringify({ ...entry, columns }), table, key);
  }
}

/** Rows of the origin that nobody has, and that nobody will have. */
function noteLost(
  { table, columns, reason, rows }: LostRows,
  context: ChangesetContext,
  { journal }: SchemaChangeComponents,
): void {
  rows.forEach((row, i) =>
    journal.add({
      shard: context.shard,
      index: context.index,
      table: 0,
      keyId: i,
      kind: "schema clash",
      losingOrigin: context.origin,
      losingPosition: null,
      losingImage: new Uint8Array(Buffer.from(row, "base64")),
      winningOrigin: 0,
      winningImage: null,
      time: context.time,
      note: { table, columns, reason },
    }),
  );
}

/**
 * What the origin knew when it changed the schema. Its file obeys the new constraints: of rows that it had seen, and that a
 * constraint leaves no room for, its application has removed or changed one itself, and nothing is lost.
 */
class SeenRows {
  readonly #db: DatabaseSync;
  readonly #context: ChangesetContext;
  readonly #last: SchemaChangeComponents["last"];
  readonly #tables = new Map<number, boolean>();

  constructor(db: DatabaseSync, context: ChangesetContext, last: SchemaChangeComponents["last"]) {
    this.#db = db;
    this.#context = context;
    this.#last = last;
  }

  #has({ shard, index, origin }: LastWrite): boolean {
    return origin === this.#context.origin || index <= (this.#context.bases[0]?.[shard] ?? 0);
  }

  row(shape: TableShape, keyId: KeyId): boolean {
    const last = this.#last(shape.id, keyId);
    return last === null || this.#has(last);
  }

  /** Everything that was ever written to the table. */
  table(shape: TableShape): boolean {
    let seen = this.#tables.get(shape.id);
    if (seen === undefined) {
      const newest = this.#db.prepare(
        `SELECT "shard", max("idx") AS "index", "origin" FROM "__marmot__key" WHERE "tbl" = ? GROUP BY "shard", "origin"`,
      );
      seen = (newest.all(shape.id) as unknown as LastWrite[]).every((last) => this.#has(last));
      this.#tables.set(shape.id, seen);
    }
    return seen;
  }

  /** Nothing that the origin does not know took part in it. */
  isItsOwnDoing(shape: TableShape, keyId: KeyId, { gaveWayTo }: LeftOutRow): boolean {
    if (this.#context.bases.length === 0) return false;
    if (gaveWayTo === "unknown") return this.table(shape);
    return this.row(shape, keyId) && (gaveWayTo === null || this.row(shape, keyIdOf(shape, gaveWayTo)));
  }
}

/** A row that the new schema has no room for: evicted by whoever changed the schema. */
function noteLeftOut(
  db: DatabaseSync,
  shape: TableShape,
  row: LeftOutRow,
  context: ChangesetContext,
  { last, journal, references, changed }: SchemaChangeComponents,
  seen: SeenRows,
): LeftOutKey {
  const value = new Map(row.columns.map((c, i) => [foldName(c), row.values[i]!]));
  const image = shape.columns.map((c, i) =>
    shape.rowidKey && i === 0 ? row.rowid : (value.get(foldName(c.name)) ?? null),
  );
  const keyId = keyIdOfImage(shape, image);
  const lost = last(shape.id, keyId);
  const bytes = encodeImage(image);
  if (!seen.isItsOwnDoing(shape, keyId, row))
    journal.add({
      shard: context.shard,
      index: context.index,
      table: shape.id,
      keyId,
      kind: "unique clash",
      losingOrigin: lost?.origin ?? 0,
      losingPosition: lost,
      losingImage: bytes,
      winningOrigin: context.origin,
      winningImage: null,
      time: context.time,
    });
  db.prepare(`INSERT OR REPLACE INTO "__marmot__key" VALUES(?, ?, ?, ?, ?)`).run(
    shape.id,
    keyId,
    context.shard,
    context.index,
    context.origin,
  );
  // What the origin's file says of the row, that it stays or that it is gone, leads it everywhere: it is sent in any case.
  references.add(shape.id, keyId, context.shard, context.index, context.own ? UNKNOWN : bytes);
  const key = shape.key.map((k) => image[k]!);
  changed.set(shape.id, keyId, { key, image: null });
  return { table: shape.id, key };
}

/** The checksums of a table whose rows are other images now, or lie in other shards. */
function* sumAnew(
  db: DatabaseSync,
  shape: TableShape,
  routing: RowRouting,
  { encoding }: ReplicaSettings,
  checksums: Checksums,
): Generator<void, void> {
  checksums.forget(shape.id);
  let done = 0;
  for (const image of exactRows(db, shape, encoding)) {
    checksums.add(
      shape.id,
      routing.shardOf(shape, keyIdOfImage(shape, image)),
      imageHash(encodeImage(image)),
    );
    if (++done % SLICE === 0) yield;
  }
}
