/** `storedSql` computes the same value that a column of SQLite stores. */
import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { affinityOf, storedSql } from "../../src/sqlite/affinity.ts";

const VALUES = `
  1 0 -1 1.0 1.5 -0.0 0.1+0.2 1e15 1e16 1e18 1e19 1e300 1e999 -1e999 5e-324 true
  9007199254740993 9007199254740993.0 2251799813685248.0 4503599627370497.0
  9223372036854775807 -9223372036854775808 9223372036854775808 -9223372036854775809.0 9.2233720368547748e18
  'a' '' '2' '2.0' '2.5' '-0.0' '-0' '1e3' '1e18' '1e19' '1e-5' '0x10' '+5' '.5' '5.' 'e5' '1e' '1e999' '00012' '1_000' 'inf' 'nan'
  '9007199254740993' '9007199254740993.0' '2251799813685248.0' '9223372036854775807' '9223372036854775808' '-9223372036854775808'
  '-9223372036854775808.0' '-9223372036854775809' '9.2233720368547748e18' '9999999999999999999999' '12345678901234567' '1234567890123456789.5'
  x'32' x'' ' '||2||' ' char(9)||3||char(10) '3'||char(160) '3'||char(0) char(0)||'3'
  CAST('5'AS/**/TEXT) CAST(5/**/AS/**/REAL) CAST('5'/**/AS/**/BLOB)`
  .trim()
  .split(/\s+(?=(?:[^']*'[^']*')*[^']*$)/);

const IMAGE = "typeof(x) || quote(x) || hex(x)";

for (const encoding of ["UTF-8", "UTF-16le"])
  for (const [type, strict] of [
    ["", false],
    ["TEXT", false],
    ["NUMERIC", false],
    ["INT", false],
    ["REAL", false],
    ["ANY", false],
    ["ANY", true],
    ["INTEGER", true],
    ["TEXT", true],
    ["REAL", true],
  ] as const)
    test(`storedSql equals a stored value: type ${type || "(none)"}${strict ? ", STRICT" : ""}, ${encoding}`, () => {
      const db = new Database(":memory:");
      db.exec(`PRAGMA encoding = '${encoding}'`);
      let compared = 0;
      for (const value of VALUES) {
        db.exec(`DROP TABLE IF EXISTS t; CREATE TABLE t(x ${type})${strict ? " STRICT" : ""}`);
        try {
          db.exec(`INSERT INTO t VALUES(${value})`);
        } catch {
          continue; // no value of a STRICT column
        }
        const stored = storedSql(affinityOf(type, strict), value);
        const [[there, computed] = []] = db
          .query(`SELECT (SELECT ${IMAGE} FROM t), (SELECT ${IMAGE} FROM (SELECT ${stored} AS x))`)
          .values();
        expect([value, computed]).toEqual([value, there]);
        compared++;
      }
      expect(compared).toBeGreaterThan(20);
    });
