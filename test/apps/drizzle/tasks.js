/** bun tasks.js RELEASE FILE migrate | check | fill WHO ROUNDS | report. `check` asks what Drizzle's own migrator asks. */
import { Database } from "bun:sqlite";
import { join } from "node:path";
import { sql } from "drizzle-orm";
import { drizzle } from "drizzle-orm/bun-sqlite";
import { migrate } from "drizzle-orm/bun-sqlite/migrator";
import { readMigrationFiles } from "drizzle-orm/migrator";

const [release, file, verb, who, rounds] = process.argv.slice(2);
const migrationsFolder = join(import.meta.dir, `release${release}`);
const { fill, report } = await import(`./release${release}/application.js`);

const sqlite = new Database(file);
sqlite.exec("PRAGMA busy_timeout = 20000");
const db = drizzle(sqlite);

switch (verb) {
  case "migrate":
    migrate(db, { migrationsFolder });
    break;
  case "check": {
    const last = db.values(
      sql`SELECT created_at FROM __drizzle_migrations ORDER BY created_at DESC LIMIT 1`,
    )[0];
    const newest = readMigrationFiles({ migrationsFolder }).at(-1).folderMillis;
    if (last === undefined || Number(last[0]) < newest) throw new Error(`${last} is before ${newest}`);
    break;
  }
  case "fill":
    sqlite.exec("PRAGMA foreign_keys = ON");
    console.log(JSON.stringify({ kept: fill(db, who, Number(rounds)) }));
    break;
  case "report":
    console.log(JSON.stringify(report(db)));
}
sqlite.close();
