/** A digest of everything in a replica that must be equal on all nodes at equal positions. */
import type { DatabaseSync } from "node:sqlite";
import type { TableShape } from "../../src/change/shape.ts";
import { REPLICATED_TABLES } from "../../src/replica/tables.ts";
import { quoteIdentifier } from "../../src/sqlite/quote.ts";

/** Indexes and what is no table's content. */
const TABLES = Object.values(REPLICATED_TABLES).flatMap(
  (sql) => /^CREATE TABLE "(\w+)"/.exec(sql)?.[1] ?? [],
);

const show = (value: unknown): string =>
  value instanceof Uint8Array ? `x${Buffer.from(value).toString("hex")}` : `${typeof value}${String(value)}`;

/** Table ⇒ hash of its rows. */
export function digest(db: DatabaseSync, shapes: Iterable<TableShape>): Map<string, bigint> {
  const out = new Map<string, bigint>();
  const add = (name: string, order: string): void => {
    const rows = db.prepare(`SELECT * FROM ${quoteIdentifier(name)} ORDER BY ${order}`);
    rows.setReturnArrays(true);
    rows.setReadBigInts(true);
    let hash = 0n;
    for (const row of rows.iterate() as unknown as Iterable<unknown[]>)
      hash = Bun.hash.xxHash64(row.map(show).join("|"), hash);
    out.set(name, hash);
  };
  for (const name of TABLES) {
    const columns = db.prepare(`SELECT * FROM ${quoteIdentifier(name)}`).columns().length;
    add(name, Array.from({ length: columns }, (_, i) => i + 1).join(", "));
  }
  for (const shape of shapes)
    add(shape.name, shape.key.map((k) => quoteIdentifier(shape.columns[k]!.name)).join(", "));
  return out;
}
