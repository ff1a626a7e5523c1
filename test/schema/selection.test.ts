/** Objects of a file that other nodes build, where tables are left out. */
import { expect, test } from "bun:test";
import { builtElsewhere } from "../../src/schema/selection.ts";
import { shadowTablesOf } from "../../src/schema/virtual-tables.ts";
import type { SchemaObject } from "../../src/sqlite/schema.ts";

const table = (name: string, sql = `CREATE TABLE ${name}(x)`): SchemaObject => ({
  ...{ kind: "table" as const, name, tableName: name, sql },
});

test("the tables in which an excluded virtual table keeps its content are left out with it", () => {
  const objects = [
    table("a"),
    table("own", "CREATE VIRTUAL TABLE own USING fts5(body)"),
    ...["data", "idx", "content", "docsize", "config"].map((end) => table(`own_${end}`)),
    table("r", "CREATE VIRTUAL TABLE r USING rtree(id, x0, x1)"),
    ...["rowid", "node", "parent"].map((end) => table(`r_${end}`)),
    table("kept", "CREATE VIRTUAL TABLE kept USING fts5(body)"),
    table("kept_data"),
    table("own_notes"),
  ];
  const built = builtElsewhere(objects, { tables: null, exclude: ["own", "R"] });
  expect(built.map((o) => o.name)).toEqual(["a", "kept", "kept_data", "own_notes"]);
});

test("of a virtual table whose module only the application has, all tables that are called after it are left out", () => {
  const objects = [
    table("Vec", "CREATE VIRTUAL TABLE Vec USING vec0(embedding float[8])"),
    ...["vec_chunks", "Vec_info", "VEC_vector_chunks00", "vector"].map((name) => table(name)),
    table("words", "CREATE VIRTUAL TABLE words USING fts5vocab('own', 'row')"),
    table("words_seen"),
  ];
  expect([...shadowTablesOf(objects)].sort()).toEqual(["vec_chunks", "vec_info", "vec_vector_chunks00"]);
  const built = builtElsewhere(objects.slice(0, 5), { tables: null, exclude: ["Vec"] });
  expect(built.map((o) => o.name)).toEqual(["vector"]);
});
