/** The schema of the replica: Marmot's tables, the application's tables as declared, and only its UNIQUE indexes. */
import { foldName } from "../../base/names.ts";
import type { DatabaseSync } from "node:sqlite";
import type { TableShape } from "../../change/shape.ts";
import type { Catalogue } from "../../schema/catalogue.ts";
import type { SchemaState } from "../../schema/diff/change.ts";
import { createObject } from "../../schema/scratch.ts";
import { shapeOf } from "../../schema/read-shape.ts";
import { queryOf } from "../../sqlite/query.ts";
import { isUniqueIndex, readTable, type SchemaObject } from "../../sqlite/schema.ts";
import { LOCAL_TABLES, REPLICATED_TABLES } from "./tables.ts";
import { integer, nullable, oneOf, readRows, text } from "../../sqlite/typed-rows.ts";

export interface CatalogueObject extends SchemaObject {
  /** `TableShape.id` of a replicated table; null for everything else. */
  readonly tableId: number | null;
}

/** Catalogue, `user_version` and `application_id` as the state that schema changes apply to. */
export const stateOf = (
  objects: readonly CatalogueObject[],
  settings: Pick<SchemaState, "userVersion" | "applicationId">,
): SchemaState => ({
  objects: objects.map(({ kind, name, tableName, sql }) => ({ kind, name, tableName, sql })),
  userVersion: settings.userVersion,
  applicationId: settings.applicationId,
});

/** Numbers the first tables of a cluster: 1, 2, … in the order of creation. */
export function numberTables(catalogue: Catalogue, replicated: ReadonlySet<string>): CatalogueObject[] {
  let next = 1;
  return catalogue.objects.map((object) => ({
    ...object,
    tableId: object.kind === "table" && replicated.has(object.name) ? next++ : null,
  }));
}

/** Creates the schema of an empty replica. */
export function createSchema(db: DatabaseSync, objects: readonly CatalogueObject[]): void {
  for (const sql of Object.values(REPLICATED_TABLES)) db.exec(sql);
  for (const sql of Object.values(LOCAL_TABLES)) db.exec(sql);
  writeObjects(db, objects);
  for (const object of replicaObjects(objects)) createObject(db, object);
}

/** The objects of the application that a replica has: replicated tables, and the indexes that constrain them. */
export function replicaObjects(objects: readonly CatalogueObject[]): CatalogueObject[] {
  const tables = new Set(objects.filter((o) => o.tableId !== null).map((o) => foldName(o.name)));
  return objects.filter((object) => {
    return object.tableId !== null || (isUniqueIndex(object) && tables.has(foldName(object.tableName)));
  });
}

/** Replaces the stored catalogue. */
export function writeObjects(db: DatabaseSync, objects: readonly CatalogueObject[]): void {
  db.exec(`DELETE FROM "__marmot__object"`);
  const insert = db.prepare(`INSERT INTO "__marmot__object" VALUES(?, ?, ?, ?, ?, ?)`);
  objects.forEach((object, i) =>
    insert.run(i + 1, object.kind, object.name, object.tableName, object.sql, object.tableId),
  );
}

export function readObjectsOf(db: DatabaseSync): CatalogueObject[] {
  const rows = db
    .prepare(`SELECT "kind", "name", "tbl_name", "sql", "table_id" FROM "__marmot__object" ORDER BY "id"`)
    .all();
  const columns = {
    kind: oneOf("table", "index", "trigger", "view"),
    ...{ name: text, tbl_name: text, sql: text, table_id: nullable(integer) },
  };
  return readRows(rows, columns).map((r) => ({
    kind: r.kind,
    name: r.name,
    tableName: r.tbl_name,
    sql: r.sql,
    tableId: r.table_id,
  }));
}

/** Shapes of the replicated tables, read from the replica's own declarations. */
export function readShapes(db: DatabaseSync): TableShape[] {
  const query = queryOf(db);
  return readObjectsOf(db).flatMap((o) =>
    o.tableId === null ? [] : [shapeOf(readTable(query, o.name), o.tableId)],
  );
}
