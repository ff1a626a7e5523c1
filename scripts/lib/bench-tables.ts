/** The kinds of tables and statements whose costs are compared. */

const WIDE = Array.from({ length: 49 }, (_, i) => `c${i}`);

export interface BenchKind {
  /** Of a table T. */
  readonly schema: string;
  /** One row of T; bound: the number of the row, and a number that is another one in each round. */
  readonly sql: string;
  /** The measured statements are for rows that `sql` wrote before. */
  readonly again?: string;
}

const PLAIN = "CREATE TABLE T(id INTEGER PRIMARY KEY, a INT, b TEXT, c REAL, d BLOB);";
const ROW = "?1, 'hello world ' || (?1 + ?2), ?1 * 1.5, NULL";
const INSERT = `INSERT INTO T VALUES(?1, ${ROW})`;

export const BENCH_KINDS: Readonly<Record<string, BenchKind>> = {
  insert: { schema: PLAIN, sql: INSERT },
  update: {
    schema: PLAIN,
    sql: INSERT,
    again: "UPDATE T SET a = ?1 + ?2, b = 'hello ' || ?2, c = 2.5 WHERE id = ?1",
  },
  delete: { schema: PLAIN, sql: INSERT, again: "DELETE FROM T WHERE id = ?1 + 0 * ?2" },
  unique: {
    schema: "CREATE TABLE T(id INTEGER PRIMARY KEY, a INT UNIQUE, b TEXT UNIQUE, c REAL, d BLOB);",
    sql: INSERT,
  },
  reference: {
    schema: `CREATE TABLE T_parent(id INTEGER PRIMARY KEY); INSERT INTO T_parent VALUES(1), (2), (3);
      CREATE TABLE T(id INTEGER PRIMARY KEY, a INT, b TEXT, c REAL, p INT REFERENCES T_parent(id));`,
    sql: "INSERT INTO T VALUES(?1, ?1, 'hello world ' || (?1 + ?2), ?1 * 1.5, 1 + ?1 % 3)",
  },
  text: {
    schema: "CREATE TABLE T(id TEXT PRIMARY KEY, a INT, b TEXT, c REAL, d BLOB);",
    sql: `INSERT INTO T VALUES(printf('%08x-%d', (?1 * 2654435761) % 4294967296, ?1), ${ROW})`,
  },
  wide: {
    schema: `CREATE TABLE T(id INTEGER PRIMARY KEY, ${WIDE.join(" INT, ")} TEXT);`,
    sql: `INSERT INTO T VALUES(?1, ${WIDE.map((_, i) => `?1 + ?2 + ${i}`).join(", ")})`,
  },
};

/** SQL of a kind for a table of that name. */
export const ofTable = (sql: string, table: string): string => sql.replaceAll(/\bT(?=_parent|\b)/g, table);
