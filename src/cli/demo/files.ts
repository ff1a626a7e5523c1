/** The files of the nodes, opened as an application does: plain SQLite. */
import { DatabaseSync } from "node:sqlite";

const BUSY_MS = 10_000;

export function withFile<T>(file: string, work: (db: DatabaseSync) => T): T {
  const db = new DatabaseSync(file, { timeout: BUSY_MS });
  try {
    return work(db);
  } finally {
    db.close();
  }
}

export interface Digest {
  readonly rows: number;
  readonly hash: string;
}

const TABLES = `SELECT name FROM sqlite_schema WHERE type = 'table' AND substr(name, 1, 7) <> 'sqlite_'
  AND substr(name, 1, 10) <> '__marmot__' ORDER BY name`;

/** A hash of all rows of the application's tables, with storage classes, independent of the order of rows. */
export function digest(file: string): Digest {
  return withFile(file, (db) => {
    db.exec("BEGIN");
    let rows = 0;
    let hash = 0n;
    for (const { name } of db.prepare(TABLES).all() as { name: string }[]) {
      const statement = db.prepare(`SELECT * FROM "${name.replaceAll('"', '""')}"`);
      statement.setReadBigInts(true);
      let sum = 0n;
      for (const row of statement.iterate()) {
        const text = JSON.stringify(Object.values(row), (_key, v: unknown) =>
          typeof v === "bigint" ? `${v}n` : v,
        );
        sum = BigInt.asUintN(64, sum + Bun.hash.xxHash64(text));
        rows++;
      }
      hash = Bun.hash.xxHash64(`${name} ${sum}`, hash);
    }
    return { rows, hash: hash.toString(16).padStart(16, "0") };
  });
}
