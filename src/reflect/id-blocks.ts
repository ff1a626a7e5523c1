/**
 * Keeps the ids that SQLite picks for AUTOINCREMENT tables in blocks. Each block belongs to one node, so that two nodes
 * rarely pick the same id. SQLite's next id is max(sqlite_sequence, highest rowid) + 1, and rows of other nodes raise it.
 * Marmot raises `sqlite_sequence` to this node's next block at the end of its transactions. Only the rate of id collisions
 * depends on this.
 */
import type { DatabaseSync, StatementSync } from "node:sqlite";
import { errorMessage } from "../base/errors.ts";
import type { TableShape } from "../change/shape.ts";
import { prepareExact } from "../rows/exact-values.ts";
import { beginWriting } from "../sqlite/open-app-db.ts";
import { trusted } from "../sqlite/typed-rows.ts";
import { quoteIdentifier } from "../sqlite/quote.ts";

/** Which blocks a node has: block b belongs to slot b mod `slots`. */
export interface BlockPlace {
  readonly slot: number;
  readonly slots: number;
}

/** A node leaves a block when less than this part of it is free, so that inserts before the next check have room. */
const RESERVE = 4;
/** Every driver can hold ids up to here. */
const MAX_ID = BigInt(Number.MAX_SAFE_INTEGER);

/** The new `sqlite_sequence.seq` when SQLite would pick `next`; null: it may. */
export function raisedTo(next: bigint, size: bigint, { slot, slots }: BlockPlace): bigint | null {
  if (next < 1n || size < 1n) return null;
  const [mine, all] = [BigInt(slot), BigInt(slots)];
  const block = (next - 1n) / size;
  const ahead = (((mine - block) % all) + all) % all;
  const free = (block + 1n) * size - next + 1n;
  if (ahead === 0n && free * BigInt(RESERVE) >= size) return null;
  const seq = (block + (ahead === 0n ? all : ahead)) * size;
  return seq + size <= MAX_ID ? seq : null;
}

interface WatchedTable {
  readonly size: bigint;
  readonly name: string;
  /** [seq or null, highest rowid or null] */
  readonly select: StatementSync;
}

/**
 * The state from which SQLite picks the next id; null: the application has just renamed, dropped or rebuilt the table or the
 * column, or a view has its name. The select has no transaction of its own, so the schema may be any.
 */
function stateOf({ select, name }: WatchedTable): [seq: bigint | null, top: bigint | null] | null {
  try {
    const [seq, top] = trusted<[unknown, unknown]>(select.get(name));
    const isId = (value: unknown): value is bigint | null => value === null || typeof value === "bigint";
    return isId(seq) && isId(top) ? [seq, top] : null;
  } catch (error) {
    // The authorizer knows nothing of a view that is new.
    if (/no such (?:table|column)|is prohibited/.test(errorMessage(error))) return null;
    throw error;
  }
}

export interface IdBlocksOptions {
  readonly shapes: Iterable<TableShape>;
  /** Ids in a block of the table; 0: it has no blocks. */
  readonly sizeOf: (table: string) => number;
  /** null while it is unknown. */
  readonly place: () => BlockPlace | null;
}

export class IdBlocks {
  readonly #tables = new Map<number, WatchedTable>();
  readonly #place: () => BlockPlace | null;
  readonly #update: StatementSync | null = null;
  readonly #insert: StatementSync | null = null;
  /** This node's place when all tables were last checked. */
  #checkedFrom: BlockPlace | null = null;

  constructor(db: DatabaseSync, { shapes, sizeOf, place }: IdBlocksOptions) {
    this.#place = place;
    const sequence = db.prepare(`SELECT 1 FROM main.sqlite_schema WHERE name = 'sqlite_sequence'`).get();
    if (sequence === undefined) return; // no table is AUTOINCREMENT
    for (const shape of shapes) {
      const size = sizeOf(shape.name);
      if (!shape.autoincrement || size === 0) continue;
      // Qualified, because SQLite would take the quoted name of a dropped column for a text.
      const key = `t.${quoteIdentifier(shape.columns[shape.key[0]!]!.name)}`;
      const select = prepareExact(
        db,
        `SELECT (SELECT max(seq) FROM main.sqlite_sequence WHERE name = ?), (SELECT max(${key}) FROM main.${quoteIdentifier(shape.name)} AS t)`,
      );
      this.#tables.set(shape.id, { size: BigInt(size), name: shape.name, select });
    }
    this.#update = db.prepare(`UPDATE main.sqlite_sequence SET seq = ? WHERE name = ?`);
    this.#insert = db.prepare(`INSERT INTO main.sqlite_sequence(name, seq) VALUES(?, ?)`);
  }

  #wanted(table: WatchedTable, place: BlockPlace): { seq: bigint; present: boolean } | null {
    const state = stateOf(table);
    if (state === null) return null;
    const [seq, top] = state;
    const highest = (seq ?? 0n) > (top ?? 0n) ? (seq ?? 0n) : (top ?? 0n);
    const raised = raisedTo(highest + 1n, table.size, place);
    return raised === null ? null : { seq: raised, present: seq !== null };
  }

  /** The next id of some table lies outside of this node's blocks. Reads only. */
  get due(): boolean {
    const place = this.#place();
    if (place === null) return false;
    for (const table of this.#tables.values()) if (this.#wanted(table, place) !== null) return true;
    return false;
  }

  /**
   * Inside a transaction on the file: checks the given tables, or all when this node's place is new. Call the result after
   * the commit.
   */
  keep(touched: ReadonlySet<number>): () => void {
    const place = this.#place();
    if (place === null || this.#tables.size === 0) return () => {};
    const last = this.#checkedFrom;
    const all = last === null || last.slot !== place.slot || last.slots !== place.slots;
    for (const [id, table] of this.#tables) {
      if (!all && !touched.has(id)) continue;
      const wanted = this.#wanted(table, place);
      if (wanted === null) continue;
      if (wanted.present) this.#update!.run(wanted.seq, table.name);
      else this.#insert!.run(table.name, wanted.seq);
    }
    return () => {
      this.#checkedFrom = place;
    };
  }
}

/** Before the first insert into a file that this node has just received: in a separate transaction. */
export function reserveIds(
  db: DatabaseSync,
  shapes: readonly TableShape[],
  sizeOf: (table: string) => number,
  place: BlockPlace | null,
): void {
  if (place === null) return;
  const blocks = new IdBlocks(db, { shapes, sizeOf, place: () => place });
  if (!blocks.due) return;
  beginWriting(db);
  try {
    blocks.keep(new Set());
    db.exec("COMMIT");
  } catch (error) {
    db.exec("ROLLBACK");
    throw error;
  }
}
