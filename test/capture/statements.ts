/** A schema with every kind of key, constraint and name, and random statements for it. */
import type { Random } from "../../src/base/random.ts";

export const SCHEMA = `
  CREATE TABLE a(id INTEGER PRIMARY KEY, u TEXT UNIQUE, v);
  CREATE TABLE b(x TEXT NOT NULL COLLATE NOCASE, y INT NOT NULL, z INT, w INT, PRIMARY KEY(x, y), UNIQUE(z, w));
  CREATE TABLE c(k TEXT NOT NULL PRIMARY KEY, e INT, f TEXT) WITHOUT ROWID;
  CREATE UNIQUE INDEX c_e ON c(e) WHERE f > 'b';
  CREATE UNIQUE INDEX c_x ON c(lower(f), e + 1);
  CREATE TABLE parent(id INTEGER PRIMARY KEY, n INT);
  CREATE TABLE child(id INTEGER PRIMARY KEY, p INT REFERENCES parent(id) ON DELETE CASCADE ON UPDATE CASCADE);
  CREATE TABLE nulled(id INTEGER PRIMARY KEY, p INT UNIQUE REFERENCES parent(id) ON DELETE SET NULL ON UPDATE SET NULL);
  CREATE TABLE defaulted(id INTEGER PRIMARY KEY, p INT DEFAULT 1 REFERENCES parent(id) ON DELETE SET DEFAULT ON UPDATE SET DEFAULT);
  CREATE TABLE restricted(id INTEGER PRIMARY KEY, p INT REFERENCES parent(id) ON DELETE RESTRICT ON UPDATE RESTRICT DEFERRABLE INITIALLY DEFERRED);
  CREATE TABLE bytes(k BLOB NOT NULL, r REAL NOT NULL, n, PRIMARY KEY(k, r));
  CREATE TABLE loose(x NOT NULL PRIMARY KEY, v, g INT AS (v || '') STORED UNIQUE, w TEXT AS (v) VIRTUAL);
  CREATE UNIQUE INDEX loose_w ON loose(w DESC, (v = '1')) WHERE v <> 'b';
  CREATE TABLE declared(id INTEGER PRIMARY KEY, a UNIQUE ON CONFLICT REPLACE, b TEXT, n NOT NULL ON CONFLICT REPLACE DEFAULT (1 + 1));
  CREATE UNIQUE INDEX declared_b ON declared(b COLLATE NOCASE DESC);
  CREATE UNIQUE INDEX declared_x ON declared(n || 'x' COLLATE NOCASE, a);
  CREATE TABLE "my.""table"("order" TEXT NOT NULL COLLATE RTRIM, "ünï" INT NOT NULL, "a b" ANY, PRIMARY KEY("order", "ünï"), UNIQUE("a b")) STRICT, WITHOUT ROWID;
  CREATE TABLE folded(x TEXT NOT NULL, v, PRIMARY KEY(x COLLATE NOCASE));
  CREATE TRIGGER fan AFTER INSERT ON a WHEN NEW.v > 2 BEGIN INSERT OR REPLACE INTO declared(id, a) VALUES(NEW.id + 1, NEW.u); DELETE FROM parent WHERE id = NEW.v; END;
  CREATE TRIGGER chain AFTER DELETE ON declared BEGIN UPDATE b SET w = w + 1 WHERE z = OLD.id; END;
  CREATE TRIGGER before BEFORE INSERT ON loose BEGIN INSERT OR REPLACE INTO loose(x, v) VALUES('t', NEW.v || ''); END;
`;
export const TABLES = [
  ...["a", "b", "c", "parent", "child", "nulled", "defaulted", "restricted"],
  ...["bytes", "loose", "declared", 'my."table', "folded"],
];

/** Each call gives a statement; many of them fail on a constraint, as an application's do. */
export function statements(random: Random): () => string {
  const number = (): number => random.below(5);
  const word = (): string => `'${random.pick(["a", "A", "b", "c", "d"])}'`;
  const value = (): string =>
    random.pick([
      ...["1", "1.0", "'1'", "x'31'", "2", "2.5", "'b'", "'B'", "'b '", "''", "x''", "NULL", "-0.0", "1e3"],
      ...["9223372036854775807", "9223372036854775807.0", "CAST(x'62ff' AS TEXT)", "CAST(x'620062' AS TEXT)"],
    ]);
  const policy = (): string =>
    random.pick(["", "OR REPLACE", "OR IGNORE", "OR FAIL", "OR ABORT", "OR ROLLBACK"]);
  return (): string =>
    random.pick([
      `INSERT ${policy()} INTO a VALUES(${number()}, ${word()}, ${number()})`,
      `INSERT INTO a VALUES(${number()}, ${word()}, 1) ON CONFLICT(id) DO UPDATE SET u = excluded.u`,
      `UPDATE ${policy()} a SET u = ${word()} WHERE id = ${number()}`,
      `UPDATE ${policy()} a SET rowid = ${number()} WHERE v = ${number()}`,
      `UPDATE a SET v = v WHERE id < ${number()}`,
      `DELETE FROM a WHERE id = ${number()}`,
      `INSERT ${policy()} INTO b VALUES(${word()}, ${number()}, ${number()}, ${number()})`,
      `UPDATE ${policy()} b SET z = ${number()}, x = ${word()} WHERE y = ${number()}`,
      `DELETE FROM b WHERE x = ${word()}`,
      `INSERT ${policy()} INTO c VALUES(${word()}, ${number()}, ${word()})`,
      `UPDATE ${policy()} c SET e = e + 1, f = ${word()} WHERE k >= ${word()}`,
      `DELETE FROM c WHERE e = ${number()}`,
      `INSERT ${policy()} INTO parent VALUES(${number()}, 1)`,
      `INSERT ${policy()} INTO child VALUES(${number()}, ${number()})`,
      `UPDATE ${policy()} parent SET id = ${number()} WHERE id = ${number()}`,
      `DELETE FROM parent WHERE id = ${number()}`,
      `INSERT ${policy()} INTO ${random.pick(["nulled", "defaulted", "restricted"])} VALUES(${number()}, ${number()})`,
      `INSERT ${policy()} INTO bytes VALUES(${value()}, ${value()}, ${value()})`,
      `UPDATE ${policy()} bytes SET k = ${value()}, r = r + ${number()} WHERE r < ${number()}`,
      `DELETE FROM bytes WHERE k = ${value()}`,
      `INSERT ${policy()} INTO loose(x, v) VALUES(${value()}, ${value()}), (${value()}, ${value()})`,
      `UPDATE ${policy()} loose SET v = ${value()} WHERE x = ${value()}`,
      `UPDATE ${policy()} loose SET x = ${value()} WHERE x = ${value()}`,
      `INSERT INTO loose(x, v) VALUES(${value()}, ${value()}) ON CONFLICT DO UPDATE SET v = excluded.v`,
      `INSERT ${policy()} INTO declared(id, a, b) VALUES(${number()}, ${value()}, ${value()})`,
      `INSERT ${policy()} INTO declared DEFAULT VALUES`,
      `UPDATE ${policy()} declared SET a = ${value()}, _rowid_ = ${number()} WHERE id = ${number()}`,
      `UPDATE ${policy()} declared SET n = NULL, b = ${value()} WHERE a = ${value()}`,
      `INSERT ${policy()} INTO "my.""table" VALUES(${word()} || ' ', ${number()}, ${value()})`,
      `UPDATE ${policy()} "my.""table" SET "order" = ${word()}, "a b" = ${value()} WHERE "ünï" = ${number()}`,
      `DELETE FROM "my.""table" WHERE "order" = ${word()}`,
      `INSERT ${policy()} INTO folded VALUES(${word()}, ${value()})`,
      `UPDATE ${policy()} folded SET x = ${word()} WHERE x = ${word()}`,
      `UPDATE ${policy()} folded SET x = upper(x), v = ${number()}`,
      `DELETE FROM folded WHERE x = ${word()}`,
      ...["ANALYZE", "REINDEX", "SAVEPOINT s", "ROLLBACK TO s", "RELEASE s"],
      "VACUUM",
    ]);
}
