/** `marmot doctor`: the verdict is the one of `marmot run`. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { Database } from "bun:sqlite";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { UserError } from "../../src/base/errors.ts";
import { checkSchema } from "../../src/node/startup/form-cluster.ts";
import { openDatabase } from "../../src/sqlite/open.ts";
import { marmot } from "./lab.ts";

let folder = "";
let path = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "marmot-doctor-"));
  path = join(folder, "app.db");
  const db = new Database(path, { create: true });
  db.exec("CREATE TABLE t(id INTEGER PRIMARY KEY); CREATE TABLE u(id INTEGER PRIMARY KEY)");
  db.close();
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** The refusal of a node that forms a cluster with the file. */
function refusalOfRun(tables: string[] | null, exclude: string[]): string {
  const db = openDatabase(path, { readOnly: true });
  try {
    checkSchema(db, { db: path, selection: { tables, exclude } });
    return "";
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    return error.message;
  } finally {
    db.close();
  }
}

test("a table that does not exist is refused by doctor as by run", async () => {
  for (const [option, refusal] of [
    ["--tables", refusalOfRun(["t", "nope"], [])],
    ["--exclude", refusalOfRun(null, ["t", "nope"])],
  ] as const) {
    const { code, err } = await marmot(["doctor", "--db", path, option, "t,nope"]);
    expect([option, code]).toEqual([option, 1]);
    expect(refusal).toContain("it has no nope");
    expect(err).toStartWith(`marmot: ${refusal}\nhint: `);
  }
  expect((await marmot(["doctor", "--db", path, "--tables", "T"])).code).toBe(0);
});
