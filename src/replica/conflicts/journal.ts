/** The conflict journal: rows that lost to a concurrent write, kept with both images so that users can see and restore them. */
import type { DatabaseSync } from "node:sqlite";
import type { KeyId } from "../../change/key.ts";
import { prepareExact } from "../../rows/exact-values.ts";
import { arraysLazily, lazily, type LazyStatement } from "../../sqlite/lazy.ts";
import {
  blob,
  integer,
  nullable,
  oneOf,
  readTuple,
  readTuples,
  text,
  trusted,
} from "../../sqlite/typed-rows.ts";
import { keyCell } from "../store/key-cell.ts";
import { ConflictStates } from "./conflict-states.ts";

/** Newest conflicts kept per shard. Every node drops older ones at the same position. */
const JOURNAL_LIMIT = 10_000;
/** Conflicts that are read at a time. */
const PAGE = 200;

export type ConflictKind =
  | "concurrent write"
  /** Two nodes inserted different rows under one key: the later one wins. */
  | "same key"
  | "unique clash"
  /** A reference was left dangling and is kept. */
  | "orphan"
  /** A dangling reference was resolved by its declared action, or by undoing the later of the two writes. */
  | "cascaded"
  | "set null"
  | "set default"
  | "refused"
  /** Two nodes created a table or column differently: the first definition wins, and rows of the other are rejected. */
  | "schema clash";

/** Describes a row that belongs to no table of the replica. */
export interface ConflictNote {
  readonly table: string;
  readonly columns: readonly string[];
  readonly reason: string;
}

/** The entry that causes a conflict. */
interface ConflictPosition {
  readonly shard: number;
  readonly index: number;
  readonly time: number;
}

/** A row that another row with one of its UNIQUE values displaces. */
interface ClashingRow {
  readonly table: number;
  readonly keyId: KeyId;
  /** Its last write; null: unknown. */
  readonly last: { readonly shard: number; readonly index: number; readonly origin: number } | null;
  readonly image: Uint8Array;
  /** null: the displacing row is not known. */
  readonly winningImage: Uint8Array | null;
}

interface Conflict {
  readonly table: number;
  readonly keyId: KeyId;
  readonly kind: ConflictKind;
  /** Peer hashes; 0: written before the journal's horizon. */
  readonly losingOrigin: number;
  readonly winningOrigin: number;
  /** Encoded images; null: a delete. */
  readonly losingImage: Uint8Array | null;
  readonly winningImage: Uint8Array | null;
  /** Position of the losing write; null: unknown. */
  readonly losingPosition: { readonly shard: number; readonly index: number } | null;
  /** Only for a "schema clash". */
  readonly note?: ConflictNote;
}

export interface StoredConflict extends ConflictPosition, Conflict {
  readonly ordinal: number;
}

type Row = readonly [
  number,
  number,
  number,
  number,
  KeyId,
  ConflictKind,
  number,
  Uint8Array | null,
  number,
  Uint8Array | null,
  number,
  number | null,
  number | null,
  string | null,
];

export class Journal {
  readonly states: ConflictStates;
  /** Called for each conflict that is added. */
  onAdd: ((conflict: Conflict, ordinal: number) => void) | null = null;
  readonly #insert: LazyStatement;
  readonly #trim: LazyStatement;
  readonly #list: LazyStatement;
  readonly #one: LazyStatement;
  readonly #replaced: LazyStatement;
  readonly #ofTable: LazyStatement;
  readonly #replace: LazyStatement;
  readonly #replacedTables = new Set<number>();
  readonly #counts = new Map<number, number>();
  /** Conflicts since the journal was opened, by kind. */
  readonly addedByKind = new Map<ConflictKind, number>();
  #last = { shard: -1, index: -1, ordinal: 0 };

  constructor(db: DatabaseSync) {
    this.states = new ConflictStates(db);
    this.#insert = lazily(
      db,
      `INSERT INTO "__marmot__conflict" VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    );
    this.#trim = lazily(
      db,
      `DELETE FROM "__marmot__conflict" WHERE ("shard", "idx", "ordinal") IN
         (SELECT "shard", "idx", "ordinal" FROM "__marmot__conflict" WHERE "shard" = ? ORDER BY "idx", "ordinal" LIMIT ?)`,
    );
    const columns = `"shard", "idx", "ordinal", "tbl", "key", "kind", "losing_origin", "losing_image", "winning_origin", "winning_image", "time", "losing_shard", "losing_idx", "note"`;
    this.#list = arraysLazily(
      db,
      `SELECT ${columns} FROM "__marmot__conflict" ORDER BY "time" DESC, "idx" DESC, "ordinal" DESC LIMIT ? OFFSET ?`,
    );
    this.#one = arraysLazily(
      db,
      `SELECT ${columns} FROM "__marmot__conflict" WHERE "shard" = ? AND "idx" = ? AND "ordinal" = ?`,
    );
    this.#replaced = arraysLazily(
      db,
      `SELECT ${columns} FROM "__marmot__conflict" WHERE "tbl" = ? AND "kind" = 'same key' ORDER BY "shard", "idx", "ordinal"`,
    );
    this.#ofTable = arraysLazily(
      db,
      `SELECT "shard", "idx", "ordinal", "losing_image", "winning_image" FROM "__marmot__conflict" WHERE "tbl" = ?`,
    );
    this.#replace = lazily(
      db,
      `UPDATE "__marmot__conflict" SET "losing_image" = ?, "winning_image" = ? WHERE "shard" = ? AND "idx" = ? AND "ordinal" = ?`,
    );
    const tables = prepareExact(
      db,
      `SELECT DISTINCT "tbl" FROM "__marmot__conflict" WHERE "kind" = 'same key'`,
    );
    for (const [table] of readTuples(tables.all(), integer)) this.#replacedTables.add(table);
    const counts = prepareExact(db, `SELECT "shard", count(*) FROM "__marmot__conflict" GROUP BY "shard"`);
    for (const [shard, count] of readTuples(counts.all(), integer, integer)) this.#counts.set(shard, count);
  }

  get total(): number {
    let total = 0;
    for (const count of this.#counts.values()) total += count;
    return total;
  }

  /** Entries that no operator has restored or dismissed. */
  get open(): number {
    return this.total - this.states.total;
  }

  /** Conflicts since the journal was opened, those that it no longer keeps included. */
  get added(): number {
    return [...this.addedByKind.values()].reduce((sum, n) => sum + n, 0);
  }

  add({ shard, index, time }: ConflictPosition, conflict: Conflict): void {
    const same = this.#last.shard === shard && this.#last.index === index;
    const ordinal = same ? this.#last.ordinal + 1 : 0;
    this.#last = { shard, index, ordinal };
    this.addedByKind.set(conflict.kind, (this.addedByKind.get(conflict.kind) ?? 0) + 1);
    this.#insert.run(
      shard,
      index,
      ordinal,
      conflict.table,
      conflict.keyId,
      conflict.kind,
      conflict.losingOrigin,
      conflict.losingImage,
      conflict.winningOrigin,
      conflict.winningImage,
      time,
      conflict.losingPosition?.shard ?? null,
      conflict.losingPosition?.index ?? null,
      conflict.note === undefined ? null : JSON.stringify(conflict.note),
    );
    this.onAdd?.(conflict, ordinal);
    if (conflict.kind === "same key") this.#replacedTables.add(conflict.table);
    const count = (this.#counts.get(shard) ?? 0) + 1;
    this.#counts.set(shard, count);
    if (count > JOURNAL_LIMIT) {
      this.#trim.run(shard, count - JOURNAL_LIMIT);
      this.#counts.set(shard, JOURNAL_LIMIT);
      this.states.trim(shard);
    }
  }

  /** A row that lost its place to the holder of a UNIQUE value. */
  addUniqueClash(context: ConflictPosition & { readonly origin: number }, row: ClashingRow): void {
    const { table, keyId, last, image, winningImage } = row;
    this.add(context, {
      ...{ table, keyId, kind: "unique clash", losingImage: image },
      ...{ losingOrigin: last?.origin ?? 0, losingPosition: last },
      ...{ winningOrigin: context.origin, winningImage },
    });
  }

  /** A schema change gives the table's rows another shape: maps both images of its conflicts. */
  mapImages(table: number, map: (image: Uint8Array) => Uint8Array): void {
    const rows = this.#ofTable.all(table);
    for (const [shard, index, ordinal, losing, winning] of readTuples(
      rows,
      ...([integer, integer, integer, nullable(blob), nullable(blob)] as const),
    ))
      this.#replace.run(
        losing === null ? null : map(losing),
        winning === null ? null : map(winning),
        ...[shard, index, ordinal],
      );
  }

  /** The newest entries, the newest first. */
  list(limit: number): StoredConflict[] {
    return this.#list.all(limit, 0).map(readConflict);
  }

  /** All entries, the newest first. */
  *newest(): Generator<StoredConflict, void> {
    for (let from = 0; ; from += PAGE) {
      const page = this.#list.all(PAGE, from);
      for (const row of page) yield readConflict(row);
      if (page.length < PAGE) return;
    }
  }

  /** False: the journal keeps no conflict in which a row of the table lost to an insert under the same key. */
  hasReplaced(table: number): boolean {
    return this.#replacedTables.has(table);
  }

  /** Conflicts in which a row of the table lost to an insert under the same key, in log order. */
  replacedIn(table: number): StoredConflict[] {
    return trusted<Row[]>(this.#replaced.all(table)).map(fromRow);
  }

  get(shard: number, index: number, ordinal: number): StoredConflict | null {
    const row = this.#one.get(shard, index, ordinal);
    return row === undefined ? null : readConflict(row);
  }
}

const KINDS = [
  ...["concurrent write", "same key", "unique clash", "orphan", "cascaded"],
  ...["set null", "set default", "refused", "schema clash"],
] as const satisfies readonly ConflictKind[];

const readConflict = (row: unknown): StoredConflict =>
  fromRow(
    readTuple(
      row,
      ...([integer, integer, integer, integer, keyCell, oneOf(...KINDS)] as const),
      ...([integer, nullable(blob), integer, nullable(blob)] as const),
      ...([integer, nullable(integer), nullable(integer), nullable(text)] as const),
    ),
  );

const fromRow = (row: Row): StoredConflict => ({
  shard: row[0],
  index: row[1],
  ordinal: row[2],
  table: row[3],
  keyId: row[4],
  kind: row[5],
  losingOrigin: row[6],
  losingImage: row[7],
  winningOrigin: row[8],
  winningImage: row[9],
  time: row[10],
  losingPosition: row[11] === null || row[12] === null ? null : { shard: row[11], index: row[12] },
  ...(row[13] === null ? {} : { note: JSON.parse(row[13]) as ConflictNote }),
});
