/** `marmot doctor`: the verdict is the one of `marmot run`. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
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

describe("habits of applications that several nodes break", () => {
  /** The output of `doctor` for a file with the schema, and its JSON. */
  async function doctor(schema: string): Promise<{ text: string; json: Record<string, unknown> }> {
    const file = join(folder, `${crypto.randomUUID()}.db`);
    const db = new Database(file, { create: true });
    db.exec(schema);
    db.close();
    const { out } = await marmot(["doctor", "--db", file]);
    return {
      text: out,
      json: JSON.parse((await marmot(["doctor", "--db", file, "--json"])).out) as Record<string, unknown>,
    };
  }

  test("ids without AUTOINCREMENT, and the tables that refer to them, are one line of the table", async () => {
    const names = Array.from({ length: 30 }, (_, i) => `t${i}`);
    const plain = names
      .map((name) => `CREATE TABLE ${name}(id INTEGER PRIMARY KEY, p REFERENCES t0);`)
      .join("");
    const { text, json } = await doctor(
      `${plain} CREATE TABLE own(id INTEGER PRIMARY KEY REFERENCES t0(id), v)`,
    );
    const lines = text.split("\n").filter((line) => line.includes("SQLite picks its ids"));
    expect(lines).toEqual([
      expect.stringMatching(
        /^30 tables +care .*: t0, t1, t2, t3 and 26 more; rows that refer to its id follow/,
      ),
    ]);
    expect(text.match(/declare it AUTOINCREMENT/g)).toHaveLength(1);
    expect(text).toMatch(/^own +replicates$/m);
    expect(json["followers"]).toEqual([...names, "own"]);
    expect(json["tables"]).toHaveLength(31);
  });

  test("a queue, a counter of a trigger and a tree of computed paths are warned of, with a hint each", async () => {
    const { json } = await doctor(`
      CREATE TABLE task(id INTEGER NOT NULL PRIMARY KEY, queue TEXT, data BLOB, priority REAL);
      CREATE TABLE page(id INTEGER PRIMARY KEY AUTOINCREMENT, path TEXT UNIQUE, depth INT, numchild INT);
      CREATE TABLE counts(name TEXT NOT NULL PRIMARY KEY, n INT);
      CREATE TRIGGER counted AFTER INSERT ON page BEGIN UPDATE counts SET n = n + 1 WHERE name = 'page'; END;
      CREATE TRIGGER logged AFTER UPDATE ON page BEGIN INSERT INTO counts VALUES('updated', 1) ON CONFLICT DO NOTHING; END;`);
    const warnings = (json["warnings"] as { message: string; hint: string }[]).filter(
      (w) => !w.message.startsWith("the application writes"),
    );
    expect(warnings.map((w) => w.message.split(/[:;]/)[0])).toEqual([
      "job queue",
      "triggers count in counts",
      "tree with paths that are computed from siblings",
    ]);
    expect(warnings[1]!.hint).toContain("--exclude counts");
  });

  test("a schema without such habits has no warning", async () => {
    const { json } = await doctor(`
      CREATE TABLE task(id TEXT NOT NULL PRIMARY KEY, title TEXT); CREATE TABLE log(id INTEGER PRIMARY KEY AUTOINCREMENT, t TEXT);
      CREATE TRIGGER logged AFTER INSERT ON task BEGIN INSERT INTO log(t) VALUES(NEW.id); END;`);
    expect(json["followers"]).toEqual([]);
    expect(
      (json["warnings"] as { message: string }[]).filter(
        (w) => !w.message.startsWith("the application writes"),
      ),
    ).toEqual([]);
  });
});
