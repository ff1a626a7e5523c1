/** bun:sqlite with the interface of better-sqlite3 that TypeORM's driver uses: that package would have to be compiled. */
import { Database } from "bun:sqlite";

class Statement {
  constructor(db, sql) {
    this.sql = sql;
    this.statement = db.prepare(sql);
  }
  get reader() {
    return this.statement.columnNames.length > 0;
  }
  all(...values) {
    return this.statement.all(...values.map(plain));
  }
  run(...values) {
    const { changes, lastInsertRowid } = this.statement.run(...values.map(plain));
    return { changes, lastInsertRowid };
  }
}

const plain = (value) => (value === undefined ? null : value instanceof Date ? value.toISOString() : value);

export default class BetterSqlite3 {
  constructor(file) {
    this.db = new Database(file, { readwrite: true, create: true });
    this.db.exec("PRAGMA busy_timeout = 20000");
  }
  prepare(sql) {
    return new Statement(this.db, sql);
  }
  exec(sql) {
    this.db.exec(sql);
  }
  pragma(text) {
    return this.db.prepare(`PRAGMA ${text}`).all();
  }
  close() {
    this.db.close();
  }
}
