/** Reads the history beside its writer, on a connection of its own. */
import type { DatabaseSync, StatementSync } from "node:sqlite";
import { parsePosition } from "../../base/text/position-token.ts";
import { openDatabase } from "../../sqlite/open.ts";
import { blob, flag, integer, nullable, readTuple, readTuples, text } from "../../sqlite/typed-rows.ts";
import { type Reach, readReach } from "./history-tables.ts";
import { decodePart, type ReadValue, type RecordedPart } from "./record.ts";

/** A table as it was when an entry was recorded. */
export interface PastTable {
  readonly table: number;
  readonly name: string;
  readonly columns: readonly string[];
  /** Places of the key's columns. */
  readonly key: readonly number[];
}

/** An entry, or a part of a large one. */
export interface PastEntry extends RecordedPart {
  readonly id: number;
  readonly shard: number;
  readonly index: number;
  /** Every part of the entry has come with this one. */
  readonly last: boolean;
  readonly time: number;
  /** `peerHash` of the origin. */
  readonly origin: number;
  readonly version: number;
  /** The position of the node after the entry; "" on parts before the last. */
  readonly position: string;
}

const COLUMNS = `"id", "shard", "idx", "last", "time", "origin", "version", "position", "data"`;

export class HistoryReader {
  readonly #db: DatabaseSync;
  readonly #valueOf: ReadValue;
  readonly #after: StatementSync;
  readonly #first: StatementSync;
  readonly #firstSince: StatementSync;
  readonly #newest: StatementSync;
  readonly #oldest: StatementSync;
  readonly #removed: StatementSync;
  readonly #called: StatementSync;
  readonly #ids: StatementSync;
  readonly #at: StatementSync;
  readonly #shapes: StatementSync;
  readonly #firstPosition: StatementSync;
  /** "version/table" ⇒ table. */
  readonly #tables = new Map<string, PastTable>();

  /** `valueOf`: reads a value in the log that the history refers to. */
  constructor(path: string, valueOf: ReadValue = () => null) {
    this.#valueOf = valueOf;
    this.#db = openDatabase(path, { readOnly: true, timeout: 1000 });
    const arrays = (sql: string): StatementSync => {
      const statement = this.#db.prepare(sql);
      statement.setReturnArrays(true);
      return statement;
    };
    this.#after = arrays(`SELECT ${COLUMNS} FROM "entry" WHERE "id" > ? ORDER BY "id" LIMIT ?`);
    this.#first = arrays(`SELECT min("id") FROM "entry" WHERE "shard" = ? AND "idx" > ?`);
    this.#firstSince = arrays(`SELECT min("id") FROM "entry" WHERE "time" >= ?`);
    this.#ids = arrays(`SELECT min("id"), max("id") FROM "entry" WHERE "shard" = ? AND "idx" = ?`);
    this.#at = arrays(`SELECT "shard", "idx" FROM "entry" WHERE "position" = ?`);
    this.#oldest = arrays(`SELECT min("id") FROM "entry"`);
    this.#removed = arrays(`SELECT "value" FROM "fact" WHERE "name" = 'removed up to'`);
    this.#called = arrays(`SELECT 1 FROM "shape" WHERE lower("name") = lower(?) LIMIT 1`);
    this.#newest = arrays(`SELECT max("id") FROM "entry"`);
    this.#firstPosition = arrays(`SELECT "position" FROM "entry" WHERE "last" = 1 ORDER BY "id" LIMIT 1`);
    this.#shapes = arrays(`SELECT "tbl", "name", "columns", "key" FROM "shape" WHERE "version" = ?`);
  }

  get reach(): Reach {
    return readReach(this.#db);
  }

  /**
   * The first state of the node from which on every entry is here: that after the oldest entry. The beginning of the reach is none with
   * several shards, since entries without rows are not recorded.
   */
  firstState(): readonly number[] {
    const row = this.#firstPosition.get();
    return (row === undefined ? null : parsePosition(readTuple(row, text)[0])) ?? this.reach.from;
  }

  /** Entries with an id above this are after the position in some shard; the ones that are not are to be skipped. */
  idBefore(position: readonly number[]): number {
    const firsts = position.flatMap((index, shard) =>
      readTuple(this.#first.get(shard, index), nullable(integer)),
    );
    const found = firsts.filter((id) => id !== null);
    return found.length === 0 ? this.newest() : Math.min(...found) - 1;
  }

  /** The first entry made at this time or later has the next id. Clocks of origins differ, so an older one may follow. */
  idBeforeTime(time: number): number {
    const [first] = readTuple(this.#firstSince.get(time), nullable(integer));
    return first === null ? this.newest() : first - 1;
  }

  /** The time of the newest entry that was removed; 0: none was since this node has its replica. */
  removedUpTo(): number {
    const row = this.#removed.get();
    return row === undefined ? 0 : readTuple(row, integer)[0];
  }

  /** Whether a table had this name at some time. */
  knowsTable(name: string): boolean {
    return this.#called.get(name) !== undefined;
  }

  /** 0: there is none. */
  oldest(): number {
    return readTuple(this.#oldest.get(), nullable(integer))[0] ?? 0;
  }

  newest(): number {
    return readTuple(this.#newest.get(), nullable(integer))[0] ?? 0;
  }

  /** First and last id of an entry; 0: it is not kept. */
  idsOf(shard: number, index: number): [first: number, last: number] {
    const [first, last] = readTuple(this.#ids.get(shard, index), nullable(integer), nullable(integer));
    return [first ?? 0, last ?? 0];
  }

  /** The same of the entry after which this node was at the position. */
  idsAt(position: string): [first: number, last: number] {
    const row = this.#at.get(position);
    return row === undefined ? [0, 0] : this.idsOf(...readTuple(row, integer, integer));
  }

  after(id: number, limit: number): PastEntry[] {
    const rows = this.#after.all(id, limit);
    return readTuples(
      rows,
      ...([integer, integer, integer, flag, integer, integer, integer, text, blob] as const),
    ).map(([at, shard, index, last, time, origin, version, position, data]) => ({
      ...{ id: at, shard, index, last, time, origin, version, position },
      ...decodePart(data, this.#valueOf),
    }));
  }

  /** null: the table was not replicated under this version. */
  table(version: number, table: number): PastTable | null {
    const name = `${version}/${table}`;
    if (!this.#tables.has(name))
      for (const [id, called, columns, key] of readTuples(
        this.#shapes.all(version),
        ...([integer, text, text, text] as const),
      ))
        this.#tables.set(`${version}/${id}`, {
          ...{ table: id, name: called },
          columns: JSON.parse(columns) as string[],
          key: JSON.parse(key) as number[],
        });
    return this.#tables.get(name) ?? null;
  }

  close(): void {
    this.#db.close();
  }
}
