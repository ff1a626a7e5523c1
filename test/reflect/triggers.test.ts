/** The application's own triggers: each effect once, on every node, with the schema untouched. */
import { afterEach, describe, expect, test } from "bun:test";
import { DatabaseSync } from "node:sqlite";
import { selfTest } from "../../src/reflect/app-db-connection.ts";
import { Lab, type LabNode } from "../node/lab.ts";

let lab: Lab;
afterEach(() => lab.close());

const everywhere = (sql: string): unknown[][][] => lab.nodes.map((n) => n.query(sql));
function expectEverywhere(sql: string, rows: unknown[][]): void {
  for (const found of everywhere(sql)) expect(found).toEqual(rows);
  expect(lab.nodes.flatMap((n) => n.deviations())).toEqual([]);
}
/** Everything of the application in a file, sorted. */
const schemaOf = (node: LabNode): unknown[][] =>
  node.query(
    `SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE name NOT LIKE '\\_\\_marmot\\_\\_%' ESCAPE '\\' AND name NOT LIKE 'sqlite%' ORDER BY type, name`,
  );

const SHOP = `
  CREATE TABLE item(id INTEGER PRIMARY KEY, name TEXT, price INT);
  CREATE TABLE total(id INTEGER PRIMARY KEY, n INT NOT NULL);
  CREATE TABLE history(id INTEGER PRIMARY KEY, item INT, name TEXT);
  CREATE TABLE audit(what TEXT, item INT);
  CREATE TABLE born(id INTEGER PRIMARY KEY, n INT NOT NULL);
  INSERT INTO total VALUES(1, 0);
  INSERT INTO born VALUES(1, 0);
  CREATE TRIGGER item_i AFTER INSERT ON item BEGIN UPDATE total SET n = n + 1; END;
  CREATE TRIGGER item_d AFTER DELETE ON item BEGIN UPDATE total SET n = n - 1; DELETE FROM history WHERE item = OLD.id; END;
  CREATE TRIGGER item_u AFTER UPDATE OF name ON item BEGIN INSERT INTO history(item, name) VALUES(NEW.id, OLD.name); END;
  CREATE TRIGGER item_c BEFORE INSERT ON item WHEN NEW.price < 0 BEGIN SELECT RAISE(ABORT, 'no'); END;
  CREATE TRIGGER audit_i AFTER INSERT ON item BEGIN INSERT INTO audit VALUES('insert', NEW.id); UPDATE born SET n = n + 1; END;
  CREATE TRIGGER audit_p AFTER UPDATE OF price ON item BEGIN INSERT INTO audit VALUES('price', NEW.id); END;
  CREATE TRIGGER audit_d AFTER DELETE ON item BEGIN INSERT INTO audit VALUES('delete', OLD.id); END;
`;

describe("the application's triggers", () => {
  test("the self-test proves that this build silences triggers", async () => {
    lab = await Lab.create("CREATE TABLE t(id INTEGER PRIMARY KEY)", 1);
    selfTest();
  });

  test("silenced triggers may call functions: in SET, in WHEN, in an unused default", async () => {
    lab = await Lab.create(
      `CREATE TABLE t(id INTEGER PRIMARY KEY, v);
       CREATE TABLE u(id INTEGER PRIMARY KEY, n, at TEXT DEFAULT CURRENT_TIMESTAMP, x DEFAULT (lower('X')));
       INSERT INTO u VALUES(1, '', 'then', 'x');
       CREATE TRIGGER t_i AFTER INSERT ON t WHEN length(NEW.v) > 0 BEGIN UPDATE u SET n = n || upper(NEW.v); END;`,
      2,
    );
    lab.settle();
    lab.nodes[0]!.run("INSERT INTO t VALUES(1, 'a'), (2, 'b')");
    lab.settle();
    expectEverywhere("SELECT n, at, x FROM u", [["AB", "then", "x"]]);
  });

  test("writes to replicated tables happen once; writes to other tables happen once on every node", async () => {
    lab = await Lab.create(SHOP, 3, 1, "whole", ["audit"]);
    lab.settle();
    const [a, b, c] = lab.nodes as [LabNode, LabNode, LabNode];
    const before = schemaOf(a);
    const places = everywhere("SELECT rowid, name FROM sqlite_schema ORDER BY rowid");
    expect(schemaOf(b)).toEqual(before);
    a.run("INSERT INTO item VALUES(1, 'pear', 3), (2, 'fig', 4)");
    lab.settle();
    expectEverywhere("SELECT n FROM total", [[2n]]);
    b.run("UPDATE item SET name = 'plum' WHERE id = 1");
    lab.settle();
    expectEverywhere("SELECT item, name FROM history", [[1n, "pear"]]);
    c.run("UPDATE item SET price = 9 WHERE id = 2");
    lab.settle();
    // The delete cannot be silenced: on the others the trigger is suspended, and `history` loses its row by a row.
    a.run("DELETE FROM item WHERE id = 1");
    lab.settle();
    expectEverywhere("SELECT count(*) FROM history", [[0n]]);
    expectEverywhere("SELECT n FROM total", [[1n]]);
    expectEverywhere("SELECT n FROM born", [[2n]]);
    expectEverywhere("SELECT what, item FROM audit ORDER BY rowid", [
      ["insert", 1n],
      ["insert", 2n],
      ["price", 2n],
      ["delete", 1n],
    ]);
    for (const node of lab.nodes) {
      expect(schemaOf(node)).toEqual(before);
      expect(node.pipeline.obstacle).toBeNull();
    }
    // The order in which triggers fire is their order in the schema.
    expect(everywhere("SELECT rowid, name FROM sqlite_schema ORDER BY rowid")).toEqual(places);
    // Suspended triggers exist again: they work for the application.
    b.run("INSERT INTO item VALUES(3, 'kiwi', 1)", "UPDATE item SET name = 'x' WHERE id = 3");
    b.run("DELETE FROM item WHERE id = 3");
    expect(() => c.run("INSERT INTO item VALUES(4, 'nut', -1)")).toThrow("no");
    lab.settle();
    expectEverywhere("SELECT count(*) FROM history", [[0n]]);
    expectEverywhere("SELECT n FROM total", [[1n]]);
  });

  test("triggers with upserts over a UNIQUE index, in replicated and in other tables, converge", async () => {
    lab = await Lab.create(
      `CREATE TABLE t(id INTEGER PRIMARY KEY, w TEXT);
       CREATE TABLE u(id INTEGER PRIMARY KEY, w TEXT, n INT DEFAULT 1);
       CREATE TABLE seen(w TEXT, n INT DEFAULT 1);
       CREATE UNIQUE INDEX u_w ON u(w);
       CREATE UNIQUE INDEX seen_w ON seen(w);
       CREATE TRIGGER t_u AFTER INSERT ON t BEGIN INSERT INTO u(w) VALUES(NEW.w) ON CONFLICT(w) DO UPDATE SET n = n + 1; END;
       CREATE TRIGGER t_s AFTER INSERT ON t BEGIN INSERT INTO seen(w) VALUES(NEW.w) ON CONFLICT(w) DO UPDATE SET n = n + 1; END;`,
      2,
      1,
      "whole",
      ["seen"],
    );
    lab.settle();
    lab.nodes[0]!.run("INSERT INTO t(w) VALUES('a'), ('b'), ('a')");
    lab.settle();
    for (const table of ["u", "seen"])
      expectEverywhere(`SELECT w, n FROM ${table} ORDER BY w`, [
        ["a", 2n],
        ["b", 1n],
      ]);
  });

  test("a row that stays when a trigger fails under OR FAIL is captured", async () => {
    lab = await Lab.create(
      `CREATE TABLE t(id INTEGER PRIMARY KEY, v); CREATE TABLE u(id INTEGER PRIMARY KEY, v UNIQUE); INSERT INTO u VALUES(1, 'taken');
       CREATE TRIGGER fails AFTER INSERT ON t BEGIN DELETE FROM u WHERE id = 7; INSERT INTO u(v) VALUES(NEW.v); END;`,
      2,
    );
    const [a, b] = lab.nodes as [LabNode, LabNode];
    a.run("INSERT INTO t VALUES(1, 'x')");
    lab.settle(); // on b the trigger was suspended and re-created
    expect(() => b.run("INSERT OR FAIL INTO t VALUES(2, 'taken')")).toThrow("UNIQUE");
    expect(b.query("SELECT id FROM t")).toEqual([[1n], [2n]]);
    lab.settle();
    expectEverywhere("SELECT id FROM t", [[1n], [2n]]);
  });

  test("a row that stays when a newly created trigger raises is captured", async () => {
    lab = await Lab.create(
      "CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES(1, 0), (2, 0)",
      2,
    );
    lab.settle();
    const [a] = lab.nodes as [LabNode];
    a.run(
      "CREATE TRIGGER stays AFTER UPDATE ON T WHEN NEW.v = 5 BEGIN SELECT RAISE(IGNORE); END",
      "CREATE TRIGGER fails AFTER UPDATE ON t WHEN NEW.v = 6 BEGIN SELECT RAISE(FAIL, 'no'); END",
      "UPDATE t SET v = 5 WHERE id = 1",
    );
    expect(() => a.run("UPDATE t SET v = 6 WHERE id = 2")).toThrow("no");
    lab.settle();
    expectEverywhere("SELECT v FROM t", [[5n], [6n]]);
    a.run("UPDATE t SET v = 7");
    lab.settle();
    expectEverywhere("SELECT v FROM t", [[7n], [7n]]);
  });

  test("a trigger that fails on this node alone stops the node with a hint, and nothing is written", async () => {
    lab = await Lab.create(
      `CREATE TABLE t(id INTEGER PRIMARY KEY, v); CREATE TABLE local(v UNIQUE); CREATE TABLE u(id INTEGER PRIMARY KEY);
       CREATE TRIGGER notes AFTER INSERT ON t BEGIN INSERT INTO local VALUES(NEW.v); END;
       CREATE TRIGGER away AFTER INSERT ON t BEGIN DELETE FROM u; END;`,
      2,
      1,
      "whole",
      ["local"],
    );
    lab.settle();
    const [a, b] = lab.nodes as [LabNode, LabNode];
    b.run("INSERT INTO local VALUES('same')");
    a.run("INSERT INTO t VALUES(1, 'other'), (2, 'same')");
    expect(() => lab.settle()).toThrow("a row of t that another node wrote cannot be shown");
    expect(b.query("SELECT count(*) FROM t")).toEqual([[0n]]);
    expect(b.query("SELECT count(*) FROM sqlite_schema WHERE name = 'away'")).toEqual([[1n]]);
    b.run("DELETE FROM local");
    b.crash(); // started again
    lab.settle();
    expectEverywhere("SELECT * FROM local ORDER BY v", [["other"], ["same"]]);
    expectEverywhere("SELECT count(*) FROM t", [[2n]]);
  });

  test("a trigger OF a generated column never fires; one OF the rowid's name fires where SQLite fires it", async () => {
    lab = await Lab.create(
      `CREATE TABLE t(id TEXT NOT NULL PRIMARY KEY, a INT, g AS (a * 2) STORED); CREATE TABLE gone(id INTEGER PRIMARY KEY);
       CREATE TABLE local(x);
       INSERT INTO gone VALUES(1), (2); INSERT INTO t VALUES('k', 1), ('l', 2);
       CREATE TRIGGER of_g AFTER UPDATE OF g ON t BEGIN DELETE FROM gone; INSERT INTO local VALUES(NEW.g); END;
       CREATE TRIGGER of_rowid AFTER UPDATE OF rowid ON t BEGIN DELETE FROM gone WHERE id = 1; END;`,
      3,
      1,
      "whole",
      ["local"],
    );
    lab.settle();
    const [a, b] = lab.nodes as [LabNode, LabNode, LabNode];
    const schema = schemaOf(a);
    a.run("UPDATE t SET a = 5 WHERE id = 'k'");
    b.run("INSERT INTO t VALUES('m', 3) ON CONFLICT(id) DO UPDATE SET a = 9");
    lab.settle();
    expectEverywhere("SELECT id, g FROM t ORDER BY id", [
      ["k", 10n],
      ["l", 4n],
      ["m", 6n],
    ]);
    expectEverywhere("SELECT count(*) FROM gone", [[2n]]);
    b.run("UPDATE t SET rowid = 70, a = 7 WHERE id = 'l'");
    lab.settle();
    expectEverywhere("SELECT id, g FROM t ORDER BY id", [
      ["k", 10n],
      ["l", 14n],
      ["m", 6n],
    ]);
    expectEverywhere("SELECT id FROM gone", [[2n]]);
    expectEverywhere("SELECT count(*) FROM local", [[0n]]);
    for (const node of lab.nodes) expect(schemaOf(node)).toEqual(schema);
  });

  test("a trigger with a function of the application takes effect once, also over schema changes", async () => {
    lab = await Lab.create(
      `CREATE TABLE t(id INTEGER PRIMARY KEY, v, w); CREATE TABLE u(id INTEGER PRIMARY KEY, n); CREATE TABLE c(id INTEGER PRIMARY KEY, n);
       INSERT INTO c VALUES(1, 0);
       CREATE TRIGGER t_i AFTER INSERT ON t BEGIN INSERT INTO u VALUES(NEW.id, shout(NEW.v)); END;
       CREATE TRIGGER u_i AFTER INSERT ON u WHEN shout(NEW.n) <> '' BEGIN UPDATE c SET n = n + 1; END;
       CREATE TRIGGER t_d BEFORE DELETE ON t BEGIN DELETE FROM u WHERE id = OLD.id AND shout(n) = n; END;`,
      3,
    );
    lab.settle();
    const [a, b, c] = lab.nodes as [LabNode, LabNode, LabNode];
    const write = (node: LabNode, sql: string): void => {
      const app = new DatabaseSync(node.file);
      try {
        app.function("shout", (text) => String(text).toUpperCase());
        app.exec(sql);
      } finally {
        app.close();
      }
    };
    write(a, "INSERT INTO t VALUES(1, 'a', 1), (2, 'b', 2)");
    lab.settle();
    write(b, "INSERT INTO t VALUES(3, 'c', 3); DELETE FROM t WHERE id = 1");
    lab.settle();
    expectEverywhere("SELECT * FROM u", [
      [2n, "B"],
      [3n, "C"],
    ]);
    expectEverywhere("SELECT n FROM c", [[3n]]);
    // The application's migrations, on a node and on those that follow.
    write(
      c,
      `ALTER TABLE t ADD COLUMN x DEFAULT 5; ALTER TABLE t RENAME COLUMN v TO word; ALTER TABLE t DROP COLUMN w;
       CREATE TRIGGER t_u AFTER UPDATE OF word ON t BEGIN UPDATE u SET n = shout(NEW.word || '!') WHERE id = NEW.id; END;
       CREATE UNIQUE INDEX words ON t(word); ALTER TABLE c RENAME TO counted`,
    );
    lab.settle();
    write(a, "UPDATE t SET word = 'z' WHERE id = 2");
    lab.settle();
    write(b, "INSERT INTO t(id, word) VALUES(4, 'd')");
    lab.settle();
    expectEverywhere("SELECT t.*, n, (SELECT n FROM counted) FROM t JOIN u USING(id) ORDER BY id", [
      [2n, "z", 5n, "Z!", 4n],
      [3n, "c", 5n, "C", 4n],
      [4n, "d", 5n, "D", 4n],
    ]);
    for (const node of lab.nodes) {
      expect(schemaOf(node)).toEqual(schemaOf(c));
      expect(node.pipeline.obstacle).toBeNull();
    }
  });

  test("an update without a change fires no trigger on other nodes", async () => {
    lab = await Lab.create(SHOP, 2, 1, "whole", ["audit"]);
    const [a, b] = lab.nodes as [LabNode, LabNode];
    a.run("INSERT INTO item VALUES(1, 'pear', 3)");
    lab.settle();
    a.run("UPDATE item SET price = 4, name = name WHERE id = 1");
    lab.settle();
    expect(b.query("SELECT what FROM audit")).toEqual([["insert"], ["price"]]);
    expect(b.query("SELECT count(*) FROM history")).toEqual(a.query("SELECT count(*) FROM history"));
  });

  test("nested triggers, INSTEAD OF triggers of views and counters on both sides of a circle take effect once", async () => {
    lab = await Lab.create(
      `CREATE TABLE a(id INTEGER PRIMARY KEY, v); CREATE TABLE b(id INTEGER PRIMARY KEY, v); CREATE TABLE c(id INTEGER PRIMARY KEY, v);
       CREATE TABLE seen(t TEXT, id INT);
       CREATE VIEW both AS SELECT a.id, a.v AS av, b.v AS bv FROM a JOIN b ON a.id = b.id;
       CREATE TRIGGER a1 AFTER INSERT ON a BEGIN INSERT INTO b VALUES(NEW.id, NEW.v); END;
       CREATE TRIGGER b1 AFTER INSERT ON b BEGIN INSERT INTO c VALUES(NEW.id, NEW.v || '!'); INSERT INTO seen VALUES('b', NEW.id); END;
       CREATE TRIGGER b2 AFTER UPDATE OF v ON b BEGIN INSERT INTO seen VALUES('b2', NEW.id); END;
       CREATE TRIGGER a2 AFTER UPDATE ON a BEGIN UPDATE b SET v = NEW.v WHERE id = NEW.id; END;
       CREATE TRIGGER a3 AFTER DELETE ON a BEGIN DELETE FROM b WHERE id = OLD.id; DELETE FROM c WHERE id = OLD.id; END;
       CREATE TRIGGER both_i INSTEAD OF INSERT ON both BEGIN INSERT INTO a VALUES(NEW.id, NEW.av); END;
       CREATE TRIGGER both_d INSTEAD OF DELETE ON both BEGIN DELETE FROM a WHERE id = OLD.id; END;
       CREATE TRIGGER c1 AFTER UPDATE ON c WHEN NEW.v = 'gone' BEGIN DELETE FROM both WHERE id = NEW.id; END;`,
      2,
      1,
      "whole",
      ["seen"],
    );
    const [a, b] = lab.nodes as [LabNode, LabNode];
    a.run("INSERT INTO both(id, av) VALUES(1, 'x')", "INSERT INTO a VALUES(2, 'y'), (3, 'z')");
    lab.settle();
    expectEverywhere("SELECT id, v FROM c ORDER BY id", [
      [1n, "x!"],
      [2n, "y!"],
      [3n, "z!"],
    ]);
    b.run("UPDATE a SET v = 'new' WHERE id = 2");
    lab.settle();
    expectEverywhere("SELECT v FROM b ORDER BY id", [["x"], ["new"], ["z"]]);
    expectEverywhere("SELECT t, id FROM seen ORDER BY t, id", [
      ["b", 1n],
      ["b", 2n],
      ["b", 3n],
      ["b2", 2n],
    ]);
    b.run("UPDATE c SET v = 'gone' WHERE id = 3");
    lab.settle();
    expectEverywhere("SELECT group_concat(id) FROM a", [["1,2"]]);
    expectEverywhere("SELECT group_concat(id) FROM c", [["1,2"]]);
    expect(schemaOf(b)).toEqual(schemaOf(a));
  });

  test("Marmot's writes do not fire a trigger that was created while it runs", async () => {
    lab = await Lab.create(SHOP, 2, 1, "whole", ["audit"]);
    const [a, b] = lab.nodes as [LabNode, LabNode];
    a.run("INSERT INTO item VALUES(1, 'pear', 3)");
    lab.settle();
    b.run("CREATE TRIGGER late AFTER UPDATE ON item BEGIN DELETE FROM total; END");
    a.run("UPDATE item SET price = 5 WHERE id = 1");
    lab.settle();
    expect(b.query("SELECT price FROM item")).toEqual([[5n]]);
    expect(b.query("SELECT n FROM total")).toEqual([[1n]]);
    expect(b.query("SELECT count(*) FROM sqlite_schema WHERE name = 'late'")).toEqual([[1n]]);
  });
});

describe("FTS5 with external content", () => {
  const DOCS = `
    CREATE TABLE docs(id INTEGER PRIMARY KEY, title TEXT, body TEXT);
    CREATE TABLE docs_fts_more(id INTEGER PRIMARY KEY, v);
    CREATE VIRTUAL TABLE docs_fts USING fts5(title, body, content='docs', content_rowid="id");
    CREATE TRIGGER docs_ai AFTER INSERT ON docs BEGIN INSERT INTO docs_fts(rowid, title, body) VALUES(new.id, new.title, new.body); END;
    CREATE TRIGGER docs_ad AFTER DELETE ON docs BEGIN INSERT INTO docs_fts(docs_fts, rowid, title, body) VALUES('delete', old.id, old.title, old.body); END;
    CREATE TRIGGER docs_au AFTER UPDATE ON docs BEGIN
      INSERT INTO docs_fts(docs_fts, rowid, title, body) VALUES('delete', old.id, old.title, old.body);
      INSERT INTO docs_fts(rowid, title, body) VALUES(new.id, new.title, new.body); END;
    INSERT INTO docs VALUES(1, 'pears', 'about pears'), (2, 'figs', 'about figs');
    INSERT INTO docs_fts_more VALUES(1, 'not a shadow');`;
  const found = (word: string): string =>
    `SELECT group_concat(rowid) FROM (SELECT rowid FROM docs_fts WHERE docs_fts MATCH '${word}' ORDER BY rowid)`;
  const CHECK = "INSERT INTO docs_fts(docs_fts, rank) VALUES('integrity-check', 1)";

  test("search finds replicated rows on every node, also rows from before the cluster", async () => {
    // After a VACUUM the shadow tables precede the virtual one.
    lab = await Lab.create(`${DOCS} VACUUM;`, 3);
    lab.settle();
    expectEverywhere(found("about"), [["1,2"]]);
    const [a, b, c] = lab.nodes as [LabNode, LabNode, LabNode];
    a.run("INSERT INTO docs VALUES(3, 'plums', 'about plums')");
    b.run("UPDATE docs SET body = 'all of figs' WHERE id = 2");
    c.run("DELETE FROM docs WHERE id = 1");
    lab.settle();
    expectEverywhere(found("about"), [["3"]]);
    expectEverywhere(found("figs"), [["2"]]);
    expectEverywhere(found("pears"), [[null]]);
    for (const node of lab.nodes) node.run(CHECK);
    b.run(
      "UPDATE docs SET id = 30, title = 'moved' WHERE id = 3",
      "INSERT INTO docs VALUES(2, 'two', 'deux') ON CONFLICT DO UPDATE SET body = excluded.body",
    );
    lab.settle();
    expectEverywhere(found("moved"), [["30"]]);
    for (const node of lab.nodes) node.run("PRAGMA quick_check", CHECK);
    expect(schemaOf(b)).toEqual(schemaOf(a));
    expectEverywhere("SELECT v FROM docs_fts_more", [["not a shadow"]]);
  });

  test("a joining node builds an index that lost its content empty, as the others have it", async () => {
    lab = await Lab.create(
      `CREATE TABLE t(id INTEGER PRIMARY KEY, a); CREATE TABLE c(id INTEGER PRIMARY KEY, a);
       CREATE VIRTUAL TABLE f USING fts5(a, content = 'c', content_rowid = 'id'); DROP TABLE c;`,
      2,
    );
    lab.settle();
    const [a, b] = lab.nodes as [LabNode, LabNode];
    expect(schemaOf(b)).toEqual(schemaOf(a));
    a.run("INSERT INTO t VALUES(1, 'x')");
    lab.settle();
    expectEverywhere("SELECT a FROM t", [["x"]]);
  });

  test("an index over a view of several tables finds replicated rows", async () => {
    lab = await Lab.create(
      `CREATE TABLE person(id INTEGER PRIMARY KEY, name TEXT); CREATE TABLE note(id INTEGER PRIMARY KEY, person INT, body TEXT);
       CREATE VIEW said AS SELECT note.id AS nr, name, body FROM note JOIN person ON person.id = note.person;
       CREATE VIRTUAL TABLE finds USING fts5(name, body, content='said', content_rowid='nr');
       CREATE TRIGGER note_i AFTER INSERT ON note BEGIN INSERT INTO finds(rowid, name, body) SELECT nr, name, body FROM said WHERE nr = new.id; END;
       CREATE TRIGGER note_d BEFORE DELETE ON note BEGIN INSERT INTO finds(finds, rowid, name, body) SELECT 'delete', nr, name, body FROM said WHERE nr = old.id; END;
       CREATE TRIGGER note_b BEFORE UPDATE ON note BEGIN INSERT INTO finds(finds, rowid, name, body) SELECT 'delete', nr, name, body FROM said WHERE nr = old.id; END;
       CREATE TRIGGER note_u AFTER UPDATE ON note BEGIN INSERT INTO finds(rowid, name, body) SELECT nr, name, body FROM said WHERE nr = new.id; END;
       INSERT INTO person VALUES(1, 'ann'), (2, 'bob'); INSERT INTO note VALUES(1, 1, 'pears');`,
      2,
    );
    lab.settle();
    const [a, b] = lab.nodes as [LabNode, LabNode];
    b.run("INSERT INTO note VALUES(2, 2, 'figs and pears')", "UPDATE note SET body = 'limes' WHERE id = 1");
    lab.settle();
    a.run("INSERT INTO note VALUES(3, 1, 'pears again')", "DELETE FROM note WHERE id = 1");
    lab.settle();
    const sql = (word: string) =>
      `SELECT group_concat(rowid) FROM (SELECT rowid FROM finds WHERE finds MATCH '${word}' ORDER BY rowid)`;
    expectEverywhere(sql("pears"), [["2,3"]]);
    expectEverywhere(sql("ann"), [["3"]]);
    expectEverywhere(sql("limes"), [[null]]);
  });

  test("the index follows when a row loses a UNIQUE clash", async () => {
    lab = await Lab.create(DOCS.replace("title TEXT", "title TEXT UNIQUE"), 2);
    lab.settle();
    const [a, b] = lab.nodes as [LabNode, LabNode];
    a.run("INSERT INTO docs VALUES(3, 'same', 'first')");
    b.run("INSERT INTO docs VALUES(4, 'same', 'second')");
    lab.settle();
    expectEverywhere(found("same"), [["4"]]);
    a.run("UPDATE docs SET title = 'x' WHERE id = 1", "UPDATE docs SET title = 'pears' WHERE id = 2");
    a.run("UPDATE docs SET title = 'figs' WHERE id = 1");
    lab.settle();
    expectEverywhere(found("title:figs"), [["1"]]);
    for (const node of lab.nodes) node.run(CHECK);
  });
});
