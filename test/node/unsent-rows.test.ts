/** Rows that no other node has received are saved as a database beside the file that `marmot rejoin` moves. */
import { Database } from "bun:sqlite";
import { afterEach, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { saveUnsent } from "../../src/node/offline/unsent-rows.ts";
import { Lab } from "./lab.ts";

let lab: Lab;
afterEach(() => lab.close());

const SCHEMA = `CREATE TABLE pair(a TEXT, b INTEGER, v TEXT, twice AS (v || v) STORED, PRIMARY KEY(a, b));
  CREATE TABLE log(v TEXT); CREATE TABLE bare(k TEXT PRIMARY KEY, v) WITHOUT ROWID;
  INSERT INTO pair(a, b, v) VALUES('x', 1, 'old'), ('y', 2, 'goes'); INSERT INTO log VALUES('first')`;

test("unsent rows of every kind of table are saved, deleted ones by their keys, and sent ones are not", async () => {
  lab = await Lab.create(SCHEMA, 2);
  lab.settle();
  const [node] = lab.nodes;
  node!.run("INSERT INTO bare VALUES('sent', 1)");
  lab.settle();
  const path = join(lab.folder, "unsent.db");
  expect(saveUnsent(node!.appDb, path)).toEqual([]);
  expect(existsSync(path)).toBeFalse();
  node!.run(
    "UPDATE pair SET v = 'new' WHERE a = 'x'",
    "DELETE FROM pair WHERE a = 'y'",
    "INSERT INTO log VALUES('mine')",
    "INSERT INTO bare VALUES('own', x'00ff')",
  );
  const found = saveUnsent(node!.appDb, path);
  expect(found.map(({ table, rows }) => [table, rows])).toEqual([
    ["pair", 2],
    ["log", 1],
    ["bare", 1],
  ]);
  const saved = new Database(path, { readonly: true });
  const rows = (sql: string): unknown[][] => saved.query(sql).values();
  expect(rows("SELECT * FROM pair")).toEqual([["x", 1, "new"]]);
  expect(rows("SELECT * FROM log")).toEqual([["mine"]]);
  expect(rows("SELECT k, hex(v) FROM bare")).toEqual([["own", "00FF"]]);
  expect(rows("SELECT * FROM __deleted")).toEqual([["pair", "'y', 2"]]);
  saved.close();
});
