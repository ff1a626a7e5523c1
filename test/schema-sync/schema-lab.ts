/** Comparisons for tests of schema changes: the text of the schema, the rows and their metadata. */
import { expect } from "bun:test";
import { readCatalogue } from "../../src/schema/catalogue.ts";
import { exactRows } from "../../src/rows/exact-rows.ts";
import { queryOf } from "../../src/sqlite/query.ts";
import type { Lab, LabNode } from "../node/lab.ts";

/** Two tables connected by a foreign key, and one without. */
export const SCHEMA = `CREATE TABLE a(id INTEGER PRIMARY KEY, x TEXT, y INT);
  CREATE TABLE b(k TEXT PRIMARY KEY, a_id INT REFERENCES a(id)) WITHOUT ROWID;
  CREATE TABLE other(id INTEGER PRIMARY KEY, v);
  INSERT INTO a VALUES(1, 'one', 10), (2, 'two', 20), (3, 'three', 30);
  INSERT INTO b VALUES('p', 1), ('q', 2);`;

export const schemaOf = (node: LabNode): string[] =>
  readCatalogue(queryOf(node.appDb))
    .objects.map((o) => `${o.kind} ${o.name} ${o.tableName} ${o.sql}`)
    .sort((one, other) =>
      one.startsWith("trigger") && other.startsWith("trigger") ? 0 : one < other ? -1 : 1,
    );

export const rowsOf = (node: LabNode): Record<string, string[]> => {
  const { replica } = node.replica;
  const out: Record<string, string[]> = {};
  for (const shape of replica.shapes.values())
    out[shape.name] = [...exactRows(node.appDb, shape, "UTF-8")].map((row) =>
      row.map((v) => `${typeof v}:${String(v)}`).join("|"),
    );
  return out;
};

/** All files, replicas and their metadata equal those of the node `like`. */
export function expectEqual(of: Lab, like: LabNode): void {
  of.settle();
  const [schema, rows] = [schemaOf(like), rowsOf(like)];
  for (const node of of.nodes) {
    expect({ node: node.number, schema: schemaOf(node) }).toEqual({ node: node.number, schema });
    expect({ node: node.number, rows: rowsOf(node) }).toEqual({ node: node.number, rows });
    expect({ node: node.number, wrong: node.wrongChecksums() }).toEqual({ node: node.number, wrong: [] });
    expect({ node: node.number, wrong: node.deviations() }).toEqual({ node: node.number, wrong: [] });
    expect(node.pipeline.schemaDue).toBe(false);
  }
}
