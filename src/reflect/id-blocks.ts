/**
 * Ids that SQLite picks for AUTOINCREMENT tables, kept in blocks that belong to one node each, so that two nodes rarely
 * pick the same. SQLite's next id is max(sqlite_sequence, highest rowid) + 1, which another node's rows drag along;
 * raising `sqlite_sequence` at the end of a transaction of Marmot leads it back before the application picks again.
 * Nothing depends on it but how often ids collide.
 */
import type { DatabaseSync, StatementSync } from "node:sqlite";
import { errorMessage } from "../base/errors.ts";
import type { TableShape } from "../change/shape.ts";
import { prepareExact } from "../rows/row-access.ts";
import { beginWriting } from "../sqlite/open-app-db.ts";
import { quoteIdentifier } from "../sqlite/quote.ts";

/** Whose turn a block is: block b belongs to slot b mod `slots`. */
export interface BlockPlace {
  readonly slot: number;
  readonly slots: number;
}

/** A block is left when less than this part of it is free: what is inserted before Marmot looks again has room. */
const RESERVE = 4;
/** Ids stay what every driver can hold. */
const MAX_ID = BigInt(Number.MAX_SAFE_INTEGER);

/** What `sqlite_sequence.seq` must be raised to when `next` would be picked next; null: it may. */
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
  readonly look: StatementSync;
}

/** What SQLite would go on from; null: the application has just renamed or dropped what is looked at. */
function look({ look: statement, name }: WatchedTable): [seq: bigint | null, top: bigint | null] | null {
  try {
    return statement.get(name) as unknown as [bigint | null, bigint | null];
  } catch (error) {
    if (/no such (?:table|column)/.test(errorMessage(error))) return null;
    throw error;
  }
}

export class IdBlocks {
  readonly #tables = new Map<number, WatchedTable>();
  readonly #place: () => BlockPlace | null;
  readonly #update: StatementSync | null = null;
  readonly #insert: StatementSync | null = null;
  /** Where all tables were last looked at. */
  #lookedFrom: BlockPlace | null = null;

  /** `sizeOf`: ids in a block of the table; 0: it has no blocks. `place`: null while it is unknown. */
  constructor(
    db: DatabaseSync,
    shapes: Iterable<TableShape>,
    sizeOf: (table: string) => number,
    place: () => BlockPlace | null,
  ) {
    this.#place = place;
    const sequence = db.prepare(`SELECT 1 FROM main.sqlite_schema WHERE name = 'sqlite_sequence'`).get();
    if (sequence === undefined) return; // no table is AUTOINCREMENT
    for (const shape of shapes) {
      const size = sizeOf(shape.name);
      if (!shape.autoincrement || size === 0) continue;
      // With the table before it, or a name that is gone would be a text.
      const key = `t.${quoteIdentifier(shape.columns[shape.key[0]!]!.name)}`;
      const look = prepareExact(
        db,
        `SELECT (SELECT max(seq) FROM main.sqlite_sequence WHERE name = ?), (SELECT max(${key}) FROM main.${quoteIdentifier(shape.name)} AS t)`,
      );
      this.#tables.set(shape.id, { size: BigInt(size), name: shape.name, look });
    }
    this.#update = db.prepare(`UPDATE main.sqlite_sequence SET seq = ? WHERE name = ?`);
    this.#insert = db.prepare(`INSERT INTO main.sqlite_sequence(name, seq) VALUES(?, ?)`);
  }

  #wanted(table: WatchedTable, place: BlockPlace): { seq: bigint; present: boolean } | null {
    const looked = look(table);
    if (looked === null) return null;
    const [seq, top] = looked;
    const highest = (seq ?? 0n) > (top ?? 0n) ? (seq ?? 0n) : (top ?? 0n);
    const raised = raisedTo(highest + 1n, table.size, place);
    return raised === null ? null : { seq: raised, present: seq !== null };
  }

  /** An id that SQLite would pick now lies elsewhere. Reads only. */
  get due(): boolean {
    const place = this.#place();
    if (place === null) return false;
    for (const table of this.#tables.values()) if (this.#wanted(table, place) !== null) return true;
    return false;
  }

  /**
   * Inside a transaction on the file: looks at the tables given, or at all when this node's place is new. Call what is
   * returned after the commit.
   */
  keep(touched: ReadonlySet<number>): () => void {
    const place = this.#place();
    if (place === null || this.#tables.size === 0) return () => {};
    const last = this.#lookedFrom;
    const all = last === null || last.slot !== place.slot || last.slots !== place.slots;
    for (const [id, table] of this.#tables) {
      if (!all && !touched.has(id)) continue;
      const wanted = this.#wanted(table, place);
      if (wanted === null) continue;
      if (wanted.present) this.#update!.run(wanted.seq, table.name);
      else this.#insert!.run(table.name, wanted.seq);
    }
    return () => {
      this.#lookedFrom = place;
    };
  }
}

/** Before anybody inserts: in a transaction of its own, for a file that this node has just received. */
export function reserveIds(
  db: DatabaseSync,
  shapes: readonly TableShape[],
  sizeOf: (table: string) => number,
  place: BlockPlace | null,
): void {
  if (place === null) return;
  const blocks = new IdBlocks(db, shapes, sizeOf, () => place);
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
