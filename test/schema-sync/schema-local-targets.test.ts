/** Triggers and views made while Marmot runs that need a table which stays on its node: they stay there with it. */
import { afterEach, describe, expect, test } from "bun:test";
import { Lab, type LabNode } from "../node/lab.ts";
import { rowsOf, schemaOf } from "./schema-lab.ts";

const SCHEMA = `CREATE TABLE feat(id INTEGER PRIMARY KEY, x REAL, name TEXT); INSERT INTO feat VALUES(1, 1, 'one');
  CREATE TABLE excluded_from_start(id INTEGER PRIMARY KEY, what TEXT);`;

let lab: Lab | null = null;
afterEach(() => {
  lab?.close();
  lab = null;
});

const KEPT_HALF = `BEGIN; CREATE VIRTUAL TABLE ix USING rtree(id, a, b);
  CREATE TRIGGER f_i AFTER INSERT ON feat BEGIN INSERT INTO ix VALUES(NEW.id, NEW.x, NEW.x); END;
  CREATE TRIGGER f_d AFTER DELETE ON feat BEGIN DELETE FROM ix WHERE id = OLD.id; END;
  INSERT INTO ix SELECT id, x, x FROM feat; COMMIT`;

const RTREE_TRIGGERS = `CREATE TRIGGER f_i AFTER INSERT ON feat WHEN NEW.x IS NOT NULL BEGIN INSERT INTO ix VALUES(NEW.rowid, NEW.x, NEW.x); END;
  CREATE TRIGGER f_u AFTER UPDATE ON feat BEGIN DELETE FROM ix WHERE id = OLD.id; INSERT INTO ix VALUES(NEW.id, NEW.x, NEW.x); END;
  CREATE TRIGGER f_d AFTER DELETE ON feat BEGIN DELETE FROM ix WHERE id = OLD.id; END`;

const WORDS_TRIGGERS = `CREATE TRIGGER f_i AFTER INSERT ON feat BEGIN INSERT INTO ix(rowid, name) VALUES(NEW.id, NEW.name); END;
  CREATE TRIGGER f_u AFTER UPDATE ON feat BEGIN UPDATE ix SET name = NEW.name WHERE rowid = NEW.id; END;
  CREATE TRIGGER f_d AFTER DELETE ON feat BEGIN DELETE FROM ix WHERE rowid = OLD.id; END`;

/** [kind, its table, its triggers, what the application fills it with, its rows] */
const KINDS = [
  [
    "an R-tree",
    "CREATE VIRTUAL TABLE ix USING rtree(id, a, b)",
    RTREE_TRIGGERS,
    "INSERT INTO ix SELECT id, x, x FROM feat",
    "SELECT id FROM ix WHERE a >= 0 ORDER BY id",
  ],
  [
    "a full-text index",
    "CREATE VIRTUAL TABLE ix USING fts5(name, tokenize='porter')",
    WORDS_TRIGGERS,
    "INSERT INTO ix(rowid, name) SELECT id, name FROM feat",
    "SELECT rowid FROM ix WHERE ix MATCH 'one OR two OR three OR four' ORDER BY rowid",
  ],
] as const;

/** [what is made, statements, rows of the table that stays at the end, objects that stay] */
const CASES: readonly (readonly [name: string, ddl: string, own: string, staying: readonly string[]])[] = [
  ["an R-tree that no trigger updates", KEPT_HALF, "SELECT id FROM ix ORDER BY id", ["f_i", "f_d"]],
  [
    "a contentless full-text index",
    `BEGIN; CREATE VIRTUAL TABLE ft USING fts5(name, content='');
     CREATE TRIGGER f_i AFTER INSERT ON feat BEGIN INSERT INTO ft(rowid, name) VALUES(NEW.id, NEW.name); END;
     INSERT INTO ft(rowid, name) SELECT id, name FROM feat; COMMIT`,
    "SELECT rowid FROM ft WHERE ft MATCH 'one OR two OR three' ORDER BY rowid",
    ["f_i"],
  ],
  [
    "a table whose rows nothing tells apart",
    `BEGIN; CREATE TABLE audit(rowid, oid, _rowid_, feat INT);
     CREATE TRIGGER f_i AFTER INSERT ON feat BEGIN INSERT INTO audit(feat) VALUES(NEW.id); END;
     CREATE VIEW audited AS SELECT * FROM audit; CREATE VIEW twice AS SELECT * FROM audited;
     CREATE TRIGGER v_i INSTEAD OF INSERT ON audited BEGIN INSERT INTO audit(feat) VALUES(NEW.feat); END;
     CREATE TRIGGER f_b BEFORE INSERT ON feat WHEN NEW.id IN (SELECT feat + 900 FROM audit) BEGIN SELECT RAISE(ABORT, 'no'); END;
     INSERT INTO audit(feat) SELECT id FROM feat; COMMIT`,
    "SELECT feat FROM audit ORDER BY feat",
    ["f_i", "f_b", "v_i", "audited", "twice"],
  ],
];

const names = (node: LabNode): string[] => schemaOf(node).map((text) => text.split(" ")[1]!);

const idsIn = (node: LabNode, sql: string): number[] =>
  node.app
    .query(sql)
    .values()
    .map(([id]) => Number(id));

describe("an index with its own rows that triggers keep is on every node", () => {
  test.each(KINDS)(
    "%s of the first file: other nodes fill theirs",
    async (_, table, triggers, filling, own) => {
      const schema = `${SCHEMA} ${[table, triggers, filling].join("; ")}`;
      lab = await Lab.create(schema, 2, 1, "whole", ["excluded_from_start"]);
      lab.settle();
      const [a, b] = [lab.nodes[0]!, lab.nodes[1]!];
      b.app.exec("INSERT INTO feat VALUES(2, 2, 'two')");
      a.app.exec("INSERT INTO feat VALUES(3, 3, 'three')");
      lab.settle();
      a.app.exec("UPDATE feat SET name = 'four', x = 4 WHERE id = 1; DELETE FROM feat WHERE id = 2");
      lab.settle();
      for (const node of [a, b]) {
        expect(idsIn(node, own)).toEqual([1, 3]);
        expect(node.deviations()).toEqual([]);
      }
    },
  );

  test.each(KINDS)(
    "%s made while the nodes run: the others fill theirs",
    async (_, table, triggers, filling, own) => {
      lab = await Lab.create(SCHEMA, 2, 1, "whole", ["excluded_from_start"]);
      lab.settle();
      const [a, b] = [lab.nodes[0]!, lab.nodes[1]!];
      b.app.exec("INSERT INTO feat VALUES(2, 2, 'two')");
      lab.settle();
      a.app.exec(`BEGIN; ${table}; ${triggers}; ${filling}; COMMIT`);
      lab.settle();
      b.app.exec("INSERT INTO feat VALUES(3, 3, 'three')");
      lab.settle();
      // Rows of a table that is rebuilt are written while its triggers are absent.
      a.app
        .exec(`BEGIN; CREATE TABLE other(id INTEGER PRIMARY KEY, x REAL NOT NULL, name TEXT); INSERT INTO other SELECT * FROM feat;
      DROP TABLE feat; ALTER TABLE other RENAME TO feat; ${triggers}; COMMIT`);
      lab.settle();
      for (const node of [a, b]) expect(idsIn(node, own)).toEqual([1, 2, 3]);
    },
  );
});

describe("a table that stays", () => {
  test.each(CASES)("%s: applications write on every node", async (_, ddl, own, staying) => {
    lab = await Lab.create(SCHEMA, 3, 1, "whole", ["excluded_from_start"]);
    lab.settle();
    const [a, b] = [lab.nodes[0]!, lab.nodes[1]!];
    a.app.exec(ddl);
    a.app.exec("INSERT INTO feat VALUES(2, 2, 'two')");
    lab.settle();
    b.app.exec("INSERT INTO feat VALUES(3, 3, 'three'); UPDATE feat SET name = name || 'u' WHERE id = 3");
    b.app.exec(
      "UPDATE feat SET name = 'three' WHERE id = 3; DELETE FROM feat WHERE id = 2; INSERT INTO feat VALUES(2, 2, 'two')",
    );
    lab.settle();
    for (const node of lab.nodes) expect(rowsOf(node)["feat"]).toEqual(rowsOf(a)["feat"]);
    expect(names(a)).toEqual(expect.arrayContaining([...staying]));
    for (const name of staying) expect(names(b)).not.toContain(name);
    // The index has the rows of other nodes, too.
    expect(
      a.app
        .query(own)
        .values()
        .map(([id]) => Number(id)),
    ).toEqual(expect.arrayContaining([1, 2, 3]));
    // A later change of the schema, on either node, finds them in no way.
    a.app.exec("ALTER TABLE feat ADD COLUMN y");
    lab.settle();
    b.app.exec("ALTER TABLE feat ADD COLUMN z; INSERT INTO feat VALUES(4, 4, 'four', 5, 6)");
    lab.settle();
    expect(names(a)).toEqual(expect.arrayContaining([...staying]));
    for (const node of lab.nodes) {
      expect(node.pipeline.schemaDue).toBe(false);
      expect(rowsOf(node)["feat"]).toEqual(rowsOf(a)["feat"]);
      expect(node.wrongChecksums()).toEqual([]);
    }
  });

  test("a table that was left out at the start is on its node only, and a later trigger that writes it stays there", async () => {
    lab = await Lab.create(SCHEMA, 2, 1, "whole", ["excluded_from_start"]);
    lab.settle();
    const [a, b] = [lab.nodes[0]!, lab.nodes[1]!];
    expect(names(b)).not.toContain("excluded_from_start");
    const trigger =
      "CREATE TRIGGER f_i AFTER INSERT ON feat BEGIN INSERT INTO excluded_from_start(what) VALUES(NEW.name); END";
    a.app.exec(trigger);
    lab.settle();
    b.app.exec("INSERT INTO feat VALUES(2, 2, 'two')");
    lab.settle();
    expect(names(b)).not.toContain("f_i");
    expect(a.app.query("SELECT what FROM excluded_from_start").values()).toEqual([["two"]]);
  });

  test("one that a trigger names at the start is on every node, empty", async () => {
    const trigger =
      "CREATE TRIGGER f_i AFTER INSERT ON feat BEGIN INSERT INTO excluded_from_start(what) VALUES(NEW.name); END";
    lab = await Lab.create(`${SCHEMA}; ${trigger}`, 2, 1, "whole", ["excluded_from_start"]);
    lab.settle();
    const [a, b] = [lab.nodes[0]!, lab.nodes[1]!];
    b.app.exec("INSERT INTO feat VALUES(2, 2, 'two')");
    lab.settle();
    for (const node of [a, b])
      expect(node.app.query("SELECT what FROM excluded_from_start").values()).toEqual([["two"]]);
  });

  test("an R-tree in place of a table that replicates holds the change back, and stops no node", async () => {
    lab = await Lab.create(
      `${SCHEMA} CREATE TABLE ix(id INTEGER PRIMARY KEY, a, b);
       CREATE TRIGGER f_i AFTER INSERT ON feat BEGIN INSERT INTO ix VALUES(NEW.id, NEW.x, NEW.x); END;`,
      2,
    );
    lab.settle();
    const [a, b] = [lab.nodes[0]!, lab.nodes[1]!];
    a.app.exec("BEGIN; DROP TABLE ix; CREATE VIRTUAL TABLE ix USING rtree(id, a, b); COMMIT");
    lab.settle();
    expect(a.pipeline.held).toContain("rows of ix wait on this node, as it is a virtual table");
    a.app.exec("DROP TABLE ix; DROP TRIGGER f_i");
    lab.clock += 1000;
    lab.settle();
    b.app.exec("INSERT INTO feat VALUES(2, 2, 'two')");
    lab.settle();
    expect(a.pipeline.obstacle).toBeNull();
    expect(names(b)).not.toContain("ix");
    expect(rowsOf(a)["feat"]).toEqual(rowsOf(b)["feat"]);
  });
});
