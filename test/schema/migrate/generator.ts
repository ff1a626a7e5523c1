/** Random schemas, rows and migrations, as plain SQLite statements. */
import type { DatabaseSync } from "node:sqlite";
import type { Random } from "../../../src/base/random.ts";
import { queryOf } from "../../../src/sqlite/query.ts";
import { quoteIdentifier } from "../../../src/sqlite/quote.ts";
import {
  keyColumns,
  readObjects,
  readTable,
  readTableKinds,
  type SchemaObject,
} from "../../../src/sqlite/schema.ts";
import { isOwn } from "../../../src/schema/catalogue.ts";
import { withoutShadowTables } from "../../../src/schema/virtual-tables.ts";

export const TABLES = ["t", "u", "Order", "a b", 'q"x', "v_1", "w"] as const;
export const COLUMNS = ["a", "b", "c", "select", "d e", 'q"c', "F", "g", "h"] as const;
const TYPES = ["", "TEXT", "INTEGER", "REAL", "BLOB", "VARCHAR(10)", "DECIMAL(5, 2)", "INT"] as const;
const DEFAULTS = ["1", "'x, y'", "-2.5", "NULL", "x'00ff'", "(1 + 2)", "CURRENT_TIMESTAMP", "TRUE"] as const;

export class Generator {
  readonly random: Random;
  /** Names of dropped columns that were added again: their values cannot be traced. */
  readonly dropped = new Set<string>();
  readonly readded = new Set<string>();
  #serial = 0;

  constructor(random: Random) {
    this.random = random;
  }

  int(bound: number): number {
    return this.random.below(bound);
  }
  pick<T>(list: readonly T[]): T {
    return this.random.pick(list);
  }
  chance(probability: number): boolean {
    return this.random.chance(probability);
  }
  shuffled<T>(list: readonly T[]): T[] {
    const keyed = list.map((item) => [this.random.next(), item] as const);
    return keyed.sort((a, b) => a[0] - b[0]).map(([, item]) => item);
  }

  /** Quoted in one of SQLite's ways, or bare if possible. */
  name(name: string): string {
    const bare = /^\w+$/.test(name) && !["select", "order"].includes(name.toLowerCase());
    const styles = [quoteIdentifier(name)];
    if (bare) styles.push(name, name);
    if (!name.includes('"')) styles.push(`\`${name}\``, `[${name}]`);
    return this.pick(styles);
  }

  columnDefinition(name: string, others: readonly string[], adding = false): string {
    let sql = `${this.name(name)} ${this.pick(TYPES)}`;
    if (this.chance(0.15) && others.length > 0 && !adding) {
      const kind = this.chance(0.5) ? " STORED" : " VIRTUAL";
      return `${sql} AS (${quoteIdentifier(this.pick(others))} || ',)')${kind}`;
    }
    if (this.chance(0.2)) sql += this.chance(0.5) ? " COLLATE NOCASE" : " /* a, comment ( */";
    if (this.chance(0.3)) sql += ` DEFAULT ${this.pick(DEFAULTS)}`;
    if (this.chance(0.1)) sql += adding ? " NOT NULL DEFAULT 7" : " NOT NULL ON CONFLICT IGNORE";
    if (this.chance(0.1)) sql += ` CHECK (${quoteIdentifier(name)} IS NOT 'never, (')`;
    if (this.chance(0.08) && !adding) sql += " UNIQUE";
    return sql;
  }

  createTable(name: string, tables: readonly string[]): string {
    const names = this.shuffled(COLUMNS).slice(0, 2 + this.int(4));
    const definitions: string[] = [];
    const constraints: string[] = [];
    const key = this.int(7);
    const others = names.slice(1);
    const first = this.name(names[0]!);
    let options = "";
    if (key === 0) definitions.push(`${first} INTEGER PRIMARY KEY`);
    else if (key === 1) definitions.push(`${first} INTEGER PRIMARY KEY AUTOINCREMENT`);
    else if (key === 2) definitions.push(`${first} TEXT PRIMARY KEY NOT NULL`);
    else if (key === 3) {
      definitions.push(`${first} TEXT NOT NULL`, `${this.name("k2")} INTEGER NOT NULL`);
      constraints.push(`CONSTRAINT "pk, (" PRIMARY KEY(${first}, k2)`);
      if (this.chance(0.5)) options = " WITHOUT ROWID";
    } else if (key === 4) {
      definitions.push(`${first} INTEGER PRIMARY KEY`);
      definitions.push(
        ...others.map((c) => `${this.name(c)} ${this.pick(["TEXT", "INTEGER", "ANY", "BLOB"])}`),
      );
      return `CREATE TABLE ${this.name(name)}(${definitions.join(", ")}) STRICT`;
    } else if (key === 5) definitions.push(`${first} INTEGER`);
    else definitions.push(`${first} TEXT COLLATE NOCASE PRIMARY KEY NOT NULL`);
    const plain: string[] = [];
    for (const other of others) {
      definitions.push(this.columnDefinition(other, plain));
      if (!/ AS \(/.test(definitions.at(-1)!)) plain.push(other);
    }
    if (this.chance(0.2) && plain.length > 0)
      constraints.push(`UNIQUE(${quoteIdentifier(this.pick(plain))})`);
    if (this.chance(0.2)) constraints.push(`CHECK(${first} IS NOT 'x''(')`);
    if (this.chance(0.3) && tables.length > 0 && plain.length > 0)
      constraints.push(
        `FOREIGN KEY(${quoteIdentifier(this.pick(plain))}) REFERENCES ${this.name(this.pick(tables))} ON DELETE SET NULL`,
      );
    const blank = this.pick([" ", "", "\n  ", " -- one, two (\n "]);
    return `CREATE TABLE ${this.name(name)}${blank}(${[...definitions, ...constraints].join(`,${blank}`)})${options}`;
  }

  value(): string {
    return this.pick([
      () => String(this.int(5)),
      () => `'s${this.int(30)}'`,
      () => `${this.int(9)}.5`,
      () => "NULL",
      () => `x'0${this.int(9)}'`,
      () => `'K${this.int(30)}'`,
      () => String(1000 + this.int(1000)),
    ])();
  }

  insertRows(db: DatabaseSync, table: string, count: number): void {
    const columns = readTable(queryOf(db), table).columns.filter((c) => c.hidden === 0);
    const names = columns.map((c) => quoteIdentifier(c.name)).join(", ");
    for (let i = 0; i < count; i++)
      attempt(
        db,
        `INSERT OR IGNORE INTO ${quoteIdentifier(table)}(${names}) VALUES(${columns.map(() => this.value()).join(", ")})`,
      );
  }

  createIndex(db: DatabaseSync, name: string): string | null {
    const table = this.anyTable(db);
    if (table === null) return null;
    const columns = readTable(queryOf(db), table).columns.map((c) => quoteIdentifier(c.name));
    const term = () =>
      this.pick([
        this.pick(columns),
        `lower(${this.pick(columns)}) COLLATE NOCASE`,
        `${this.pick(columns)} DESC`,
      ]);
    const where = this.chance(0.3) ? ` WHERE ${this.pick(columns)} IS NOT 'x, ('` : "";
    return `CREATE ${this.chance(0.4) ? "UNIQUE " : ""}INDEX ${this.name(name)} ON ${this.name(table)}(${term()}${this.chance(0.3) ? `, ${term()}` : ""})${where}`;
  }

  createView(db: DatabaseSync, name: string): string | null {
    const table = this.anyTable(db);
    if (table === null) return null;
    const columns = readTable(queryOf(db), table).columns.map((c) => quoteIdentifier(c.name));
    return `CREATE VIEW ${this.name(name)} AS SELECT ${this.pick(columns)} AS x FROM ${this.name(table)}`;
  }

  createTrigger(db: DatabaseSync, name: string): string | null {
    const table = this.anyTable(db);
    const other = this.anyTable(db);
    if (table === null || other === null) return null;
    const column = quoteIdentifier(this.pick(readTable(queryOf(db), table).columns).name);
    const written = readTable(queryOf(db), other).columns.find((c) => c.hidden === 0)!;
    const to = quoteIdentifier(written.name);
    return `CREATE TRIGGER ${this.name(name)} AFTER UPDATE OF ${column} ON ${this.name(table)} WHEN NEW.${column} = 'never' BEGIN UPDATE ${this.name(other)} SET ${to} = ${to} WHERE 0; END`;
  }

  objects(db: DatabaseSync, kind: SchemaObject["kind"]): string[] {
    const kinds = readTableKinds(queryOf(db));
    return withoutShadowTables(readObjects(queryOf(db)))
      .filter((o) => o.kind === kind && !isOwn(o.name) && kinds.get(o.name) !== "virtual")
      .map((o) => o.name);
  }

  anyTable(db: DatabaseSync): string | null {
    const tables = this.objects(db, "table");
    return tables.length === 0 ? null : this.pick(tables);
  }

  /** Creates a schema in an empty file. */
  build(db: DatabaseSync): void {
    const count = 1 + this.int(4);
    for (let i = 0; i < count; i++) this.step(db, 0);
    for (let i = 0; i < 4; i++) this.step(db, 7 + this.int(3));
    if (this.chance(0.3))
      attempt(
        db,
        "CREATE TABLE docs(id INTEGER PRIMARY KEY, body TEXT); CREATE VIRTUAL TABLE fts USING fts5(body, content='docs', content_rowid='id')",
      );
    for (const table of this.objects(db, "table")) this.insertRows(db, table, this.int(12));
  }

  /** One statement, or a few that belong together. SQLite may refuse them. */
  step(db: DatabaseSync, kind = this.int(17)): void {
    for (const sql of this.statements(db, kind)) if (!attempt(db, sql)) return;
  }

  statements(db: DatabaseSync, kind: number): string[] {
    const table = this.anyTable(db);
    const free = this.pick(TABLES);
    if (kind === 0) return [this.createTable(free, this.objects(db, "table"))];
    if (kind >= 7 && kind <= 9) {
      const name = `${["i", "view", "trg"][kind - 7]!}${this.int(4)}`;
      const type = (["index", "view", "trigger"] as const)[kind - 7]!;
      const create = [
        (n: string) => this.createIndex(db, n),
        (n: string) => this.createView(db, n),
        (n: string) => this.createTrigger(db, n),
      ][kind - 7]!(name);
      const dropping = this.chance(0.5) && this.objects(db, type).includes(name);
      return [...(dropping ? [`DROP ${type} ${name}`] : []), ...(create === null ? [] : [create])];
    }
    if (table === null) return [];
    const name = this.name(table);
    const shape = readTable(queryOf(db), table);
    const column = this.pick(shape.columns).name;
    switch (kind) {
      case 1: {
        const added = this.pick(COLUMNS);
        if (this.dropped.has(added.toLowerCase())) this.readded.add(added.toLowerCase());
        return [`ALTER TABLE ${name} ADD COLUMN ${this.columnDefinition(added, [], true)}`];
      }
      case 2:
        return [`ALTER TABLE ${name} RENAME COLUMN ${this.name(column)} TO ${this.name(this.pick(COLUMNS))}`];
      case 3:
        this.dropped.add(column.toLowerCase());
        return [`ALTER TABLE ${name} DROP COLUMN ${this.name(column)}`];
      case 4:
        return [`ALTER TABLE ${name} RENAME TO ${this.name(free)}`];
      case 5:
        return this.rebuild(db, table);
      case 6:
        return [`DROP TABLE ${name}`];
      case 10:
      case 11: {
        const type = this.pick(["index", "view", "trigger"] as const);
        const names = this.objects(db, type);
        return names.length === 0 ? [] : [`DROP ${type} ${quoteIdentifier(this.pick(names))}`];
      }
      case 12:
        return [`PRAGMA user_version = ${this.int(9)}`];
      case 13:
        return [`PRAGMA application_id = ${this.int(9)}`];
      case 14: {
        const other = this.anyTable(db)!;
        if (other === table) return [];
        return [
          `ALTER TABLE ${name} RENAME TO swap_it`,
          `ALTER TABLE ${this.name(other)} RENAME TO ${name}`,
          `ALTER TABLE swap_it RENAME TO ${this.name(other)}`,
        ];
      }
      case 15: {
        const other = this.pick(shape.columns).name;
        if (other === column) return [];
        return [
          `ALTER TABLE ${name} RENAME COLUMN ${this.name(column)} TO swap_it`,
          `ALTER TABLE ${name} RENAME COLUMN ${this.name(other)} TO ${this.name(column)}`,
          `ALTER TABLE ${name} RENAME COLUMN swap_it TO ${this.name(other)}`,
        ];
      }
      default:
        return this.chance(0.5) ? ["VACUUM"] : ["ANALYZE"];
    }
  }

  /** As ORMs do it. The new table takes the values of columns that it still has, and loses its indexes. */
  rebuild(db: DatabaseSync, table: string): string[] {
    const old = readTable(queryOf(db), table);
    const isPlain = old.columns.every((c) => c.hidden === 0);
    const columns = old.columns.filter((c) => c.hidden === 0);
    const key = keyColumns(old);
    if (!isPlain || key.some((k) => k.keyPlace > 1)) return [];
    const kept = columns.filter((c) => c.keyPlace > 0 || this.chance(0.9));
    const definitions = kept.map((c) => {
      const keyed =
        c.keyPlace > 0 ? (c.name === old.rowidColumn ? " PRIMARY KEY" : " PRIMARY KEY NOT NULL") : "";
      const type = c.name === old.rowidColumn ? "INTEGER" : c.declaredType;
      return `${this.name(c.name)} ${type}${keyed}`;
    });
    const added = this.pick(COLUMNS);
    if (this.chance(0.4) && !old.columns.some((c) => c.name.toLowerCase() === added.toLowerCase()))
      definitions.push(`${this.name(added)} TEXT DEFAULT 'new'`);
    const listed = this.chance(0.3) ? this.shuffled(definitions) : definitions;
    const name = `new_${++this.#serial}`;
    const list = kept.map((c) => quoteIdentifier(c.name)).join(", ");
    const quoted = quoteIdentifier(table);
    if (kept.length === 0) return [];
    const rowid = key.length === 0 ? "rowid, " : "";
    return [
      `CREATE TABLE ${name}(${listed.join(", ")})${old.withoutRowid ? " WITHOUT ROWID" : ""}`,
      `INSERT INTO ${name}(${rowid}${list}) SELECT ${rowid}${list} FROM ${quoted}`,
      `DROP TABLE ${quoted}`,
      `ALTER TABLE ${name} RENAME TO ${quoted}`,
    ];
  }
}

/** False: SQLite refused it. */
export function attempt(db: DatabaseSync, sql: string): boolean {
  try {
    db.exec(sql);
    return true;
  } catch {
    return false;
  }
}
