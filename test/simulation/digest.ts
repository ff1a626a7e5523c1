/** A digest of everything in a replica that must be equal on all nodes at equal positions. */
import type { DatabaseSync, StatementSync } from "node:sqlite";
import type { TableShape } from "../../src/change/shape.ts";
import { REPLICATED_TABLES } from "../../src/replica/store/tables.ts";
import { quoteIdentifier } from "../../src/sqlite/quote.ts";

/** The names of the replicated tables, without indexes. */
const TABLES = Object.values(REPLICATED_TABLES).flatMap(
  (sql) => /^CREATE TABLE "(\w+)"/.exec(sql)?.[1] ?? [],
);

/** No text begins as another type's values do. */
function show(value: unknown): string {
  if (typeof value === "string") return `'${value}`;
  if (typeof value === "bigint") return value.toString();
  if (value instanceof Uint8Array) return `x${value.toHex()}`;
  return `${typeof value}${String(value)}`;
}

type Hashed = [name: string, rows: StatementSync][];

/** With rows ordered one by one over several shards, each node counts dangling references for itself. */
const OWN_VIEW = "__marmot__orphan";

/** Statements are dear to make, and a replica is looked at again and again; they are of the tables that it had. */
const prepared = new WeakMap<DatabaseSync, { readonly tables: string; readonly hashed: Hashed }>();

function statements(db: DatabaseSync, shapes: readonly TableShape[]): Hashed {
  const known = prepared.get(db);
  // A renamed column in double quotes would be a text that orders nothing.
  const tables = JSON.stringify(shapes.map((s) => [s.name, s.key.map((k) => s.columns[k]!.name)]));
  if (known?.tables === tables) return known.hashed;
  const add = (name: string, order: string): Hashed[number] => {
    const rows = db.prepare(`SELECT * FROM ${quoteIdentifier(name)} ORDER BY ${order}`);
    rows.setReturnArrays(true);
    rows.setReadBigInts(true);
    return [name, rows];
  };
  const ordered = db
    .prepare(`SELECT 1 FROM "__marmot__setting" WHERE "name" = 'transactions' AND "value" = 'whole'`)
    .get();
  const equal = TABLES.filter((name) => ordered !== undefined || name !== OWN_VIEW);
  const all: Hashed = equal.map((name) => {
    const columns = db.prepare(`SELECT * FROM ${quoteIdentifier(name)}`).columns().length;
    return add(name, Array.from({ length: columns }, (_, i) => i + 1).join(", "));
  });
  for (const shape of shapes)
    all.push(add(shape.name, shape.key.map((k) => quoteIdentifier(shape.columns[k]!.name)).join(", ")));
  prepared.set(db, { tables, hashed: all });
  return all;
}

/** Table ⇒ hash of its rows. */
export function digest(db: DatabaseSync, shapes: Iterable<TableShape>): Map<string, bigint> {
  const out = new Map<string, bigint>();
  for (const [name, rows] of statements(db, [...shapes])) {
    const all = rows.all() as unknown as unknown[][];
    out.set(name, Bun.hash.xxHash64(all.map((row) => row.map(show).join("|")).join("\n")));
  }
  return out;
}
