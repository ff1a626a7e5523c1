/** What a file holds for its application: every schema object, every row with storage classes to the bit, whatever its order. */
import type { Database, Statement } from "bun:sqlite";
import { quoteIdentifier as q, quoteText } from "../../src/sqlite/quote.ts";

export interface Content {
  /** Name ⇒ rows, sorted. */
  readonly rows: ReadonlyMap<string, readonly string[]>;
  /** Objects of the schema in the order in which SQLite has them, per table. */
  readonly schema: readonly string[];
}

const OWN = /^__marmot__/i;

export function contentOf(db: Database): Content {
  const rows = new Map<string, string[]>();
  for (const [name, statement] of readingOf(db).statements)
    rows.set(name, statement === null ? ["a view of what is gone"] : rowsOf(statement));
  return { rows, schema: schemaOf(db) };
}

/** The queries that read every table and view of a schema; null: a view of a missing table. */
interface Reading {
  readonly version: unknown;
  readonly statements: readonly (readonly [table: string, rows: Statement | null])[];
}

const readings = new WeakMap<Database, Reading>();

/** Statements are kept while the schema stays: most steps leave it alone. */
function readingOf(db: Database): Reading {
  const version = db.query("PRAGMA schema_version").values()[0]![0];
  const known = readings.get(db);
  if (known !== undefined && known.version === version) return known;
  for (const [, statement] of known?.statements ?? []) statement?.finalize();
  const kinds = db.query(`SELECT name, type FROM pragma_table_list WHERE schema = 'main'`).values() as [
    string,
    string,
  ][];
  const statements = kinds
    .filter(
      ([name, type]) => (type === "table" || type === "view") && !OWN.test(name) && !/^sqlite_/i.test(name),
    )
    .map(([name]) => [name, rowsStatement(db, name)] as const);
  const reading = { version, statements };
  readings.set(db, reading);
  return reading;
}

function rowsStatement(db: Database, table: string): Statement | null {
  const columns = columnsOf(db, table);
  if (columns === null) return null;
  // One value a column, exact: of a text its bytes, of a REAL the number, with the storage class.
  const shown = columns.map(([name]) => {
    const c = q(name as string);
    return `typeof(${c}), CASE typeof(${c}) WHEN 'text' THEN CAST(${c} AS BLOB) ELSE ${c} END`;
  });
  return db.prepare(`SELECT ${shown.join(", ")} FROM ${q(table)}`);
}

const rowsOf = (statement: Statement): string[] =>
  (statement.values() as unknown[][]).map((row) => row.map(exact).join(" ")).sort();

function columnsOf(db: Database, table: string): unknown[][] | null {
  try {
    return db
      .query(`SELECT name FROM pragma_table_xinfo(${quoteText(table)}) WHERE hidden IN (0, 2, 3)`)
      .values();
  } catch {
    return null;
  }
}

const float = new DataView(new ArrayBuffer(8));

function exact(value: unknown): string {
  if (value instanceof Uint8Array) return Buffer.from(value).toString("hex");
  if (typeof value !== "number") return String(value);
  float.setFloat64(0, value);
  return `${value}/${float.getBigUint64(0).toString(16)}`;
}

export function schemaOf(db: Database): string[] {
  const objects = db
    .query(
      `SELECT type, name, tbl_name, sql FROM main.sqlite_schema WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY rowid`,
    )
    .values() as [string, string, string, string | null][];
  const places = new Map<string, number>();
  return objects
    .filter(([, name]) => !OWN.test(name))
    .map(([type, name, table, text]) => {
      // The order of a table's triggers and indexes counts: they act in it.
      const place = (places.get(`${type} ${table}`) ?? 0) + 1;
      places.set(`${type} ${table}`, place);
      return `${type} ${name} of ${table}, ${place}: ${text}`;
    })
    .sort();
}

/** How the second differs from the first, which is as it should be. */
export function differences(expected: Content, found: Content, who: string): string[] {
  const out: string[] = [];
  const compare = (what: string, left: readonly string[], right: readonly string[]): void => {
    const counts = new Map<string, number>();
    for (const row of left) counts.set(row, (counts.get(row) ?? 0) + 1);
    for (const row of right) counts.set(row, (counts.get(row) ?? 0) - 1);
    const missing = [...counts].filter(([, n]) => n > 0).map(([row]) => row);
    const more = [...counts].filter(([, n]) => n < 0).map(([row]) => row);
    if (missing.length + more.length > 0)
      out.push(`${who}, ${what}: misses ${show(missing)}; has ${show(more)} too much`);
  };
  compare("schema", expected.schema, found.schema);
  for (const name of new Set([...expected.rows.keys(), ...found.rows.keys()]))
    compare(name, expected.rows.get(name) ?? [], found.rows.get(name) ?? []);
  return out;
}

const show = (rows: readonly string[]): string =>
  rows.length === 0
    ? "nothing"
    : rows
        .slice(0, 3)
        .map((r) => (r.length > 300 ? `${r.slice(0, 300)}…` : r))
        .join(" | ");

/** The full-text indexes of a file: whether SQLite finds each sound, and the results of a search for each word. */
export function searchesOf(
  db: Database,
  words: readonly string[],
): Map<string, { sound: boolean; found: string }> {
  const out = new Map<string, { sound: boolean; found: string }>();
  const names = db
    .query(`SELECT name FROM main.sqlite_schema WHERE type = 'table' AND sql LIKE '%USING fts5%'`)
    .values() as [string][];
  for (const [name] of names) {
    let sound = true;
    try {
      db.exec(`INSERT INTO ${q(name)}(${q(name)}, rank) VALUES('integrity-check', 1)`);
    } catch {
      sound = false;
    }
    const found = words.map((word) => {
      try {
        return JSON.stringify(
          db
            .query(`SELECT rowid FROM ${q(name)} WHERE ${q(name)} MATCH ? ORDER BY rowid`)
            .values(`"${word}"`)
            .map(String),
        );
      } catch (error) {
        return String(error);
      }
    });
    out.set(name, { sound, found: found.join(" ") });
  }
  return out;
}

/** Full-text indexes that are not sound, or find something else than in the plain file; those that are broken there aside. */
export function wrongSearches(
  db: Database,
  words: readonly string[],
  expected: ReturnType<typeof searchesOf>,
  who: string,
): string[] {
  if (expected.size === 0) return [];
  return [...searchesOf(db, words)].flatMap(([name, { sound, found }]) => {
    const plain = expected.get(name);
    if (plain === undefined || !plain.sound) return [];
    if (!sound) return [`${who}: the full-text index ${name} is not sound`];
    return found === plain.found
      ? []
      : [`${who}: a search of ${name} finds ${found}, plain SQLite ${plain.found}`];
  });
}
