/**
 * The one reader of change-log rows. It serves the drain, the reflector, the keys pending in a schema change, `verify` and
 * installing a snapshot. It lies on this floor because capture, reflect and replica may not import each other.
 * It works on both of Bun's SQLite modules and takes part in the caller's transaction.
 */
import type { Database } from "bun:sqlite";
import type { DatabaseSync } from "node:sqlite";
import { type KeyId, keyIdOf } from "../change/key.ts";
import type { TableShape } from "../change/shape.ts";
import type { Image, TextBytes, Value } from "../change/value.ts";
import { trusted } from "../sqlite/typed-rows.ts";
import { quoteIdentifier } from "../sqlite/quote.ts";
import { exactText, keyEquals, mayBeOdd, prepareExact } from "./exact-values.ts";

/** `v` of a log row whose suspected eviction did not happen. NULL is a change, 1 a suspicion that the trigger wrote. */
export const UNFOUNDED = 0n;

/** Log ids that one statement of a drain covers. A key that occurs in two ranges comes twice, with the same image. */
const IDS_AT_ONCE = 2000;
/** Bytes of images that one statement of a drain returns: a range of log ids with larger rows is read in halves. */
const BYTES_AT_ONCE = 4 << 20;
/** Log rows that are read with one statement. */
const ROWS_AT_ONCE = 5000;

/** One row of a change log. */
export interface LogRow {
  readonly id: number;
  /** The row only suspects that an eviction happened. */
  readonly suspect: boolean;
  /** Key columns in key order. */
  readonly key: Value[];
}

/** One key of a change log, with its row of the table in the same read transaction. */
export interface CapturedRow {
  readonly keyId: KeyId;
  /** Key columns in key order. */
  readonly key: readonly Value[];
  /** Oldest and newest log id of the key in the range that was read. */
  readonly minId: number;
  readonly maxId: number;
  /** All of the key's log rows in the range only suspect an eviction. */
  readonly suspect: boolean;
  /** null: the row is gone. */
  readonly image: Image | null;
}

/** A row of the table has NULL in its key: nothing identifies it, and it cannot be replicated. */
export class RowWithoutKey extends Error {
  override name = "RowWithoutKey";
}

/** Runs a prepared statement. Rows come as arrays, INTEGER as bigint, REAL as number. */
type Select = (...parameters: number[]) => Value[][];
export type PrepareSelect = (sql: string) => Select;

export function selectsOf(db: DatabaseSync): PrepareSelect {
  return (sql) => {
    const statement = prepareExact(db, sql);
    return (...parameters) => trusted<Value[][]>(statement.all(...parameters));
  };
}

/** The database must be open with `safeIntegers`. */
export function selectsOfBun(db: Database): PrepareSelect {
  return (sql) => {
    const statement = db.prepare(sql);
    return (...parameters) => trusted<Value[][]>(statement.values(...parameters));
  };
}

export interface ChangeLogReaderOptions {
  readonly shape: TableShape;
  /** The change log's name. */
  readonly log: string;
  /** The file's `PRAGMA encoding`. */
  readonly encoding: string;
}

/** Statements are prepared when they are first used: the table may have another shape by then, and is not read. */
export class ChangeLogReader {
  readonly shape: TableShape;
  readonly #prepare: PrepareSelect;
  readonly #encoding: string;
  /** Quoted, with its schema. */
  readonly #log: string;
  readonly #table: string;
  /** Names of the log's key columns. */
  readonly #keys: readonly string[];
  /** Compares a row `t` of the table with a log row `l`. */
  readonly #joined: string;
  /** Columns that may hold large values. */
  readonly #largeColumns: readonly number[];
  #maxId: Select | null = null;
  #rows: Select | null = null;
  #captured: Select | null = null;
  #size: Select | null = null;
  #withoutKey: Select | null = null;
  readonly #bytes = new Map<string, Select>();

  constructor(prepare: PrepareSelect, { shape, log, encoding }: ChangeLogReaderOptions) {
    this.shape = shape;
    this.#prepare = prepare;
    this.#encoding = encoding;
    this.#log = `main.${quoteIdentifier(log)}`;
    this.#table = `main.${quoteIdentifier(shape.name)}`;
    this.#keys = shape.key.map((_, i) => `k${i + 1}`);
    this.#largeColumns = shape.columns.flatMap(({ affinity }, i) =>
      affinity === "INTEGER" || affinity === "REAL" ? [] : [i],
    );
    this.#joined = keyEquals(
      shape,
      shape.key.map((k) => this.#column(k)),
      this.#keys.map((k) => `l.${k}`),
    );
  }

  /** A column of the table, of its row `t`. */
  #column(i: number): string {
    return `t.${quoteIdentifier(this.shape.columns[i]!.name)}`;
  }

  /** The highest id of the log; 0: it is empty. */
  maxId(): number {
    this.#maxId ??= this.#prepare(`SELECT max(id) FROM ${this.#log}`);
    return Number(this.#maxId()[0]![0] ?? 0n);
  }

  /** Log rows with ids in (from, to], in their order, without unfounded suspicions. */
  *rows(from: number, to: number = Number.MAX_SAFE_INTEGER): Generator<LogRow, void> {
    this.#rows ??= this.#prepare(
      `SELECT id, v, ${this.#keys.join(", ")} FROM ${this.#log} WHERE id > ? AND id <= ? ORDER BY id LIMIT ?`,
    );
    for (let after = from; ;) {
      const rows = this.#rows(after, to, ROWS_AT_ONCE);
      for (const row of rows) {
        if (row[1] === UNFOUNDED) continue;
        const id = Number(row[0]);
        yield { id, suspect: row[1] !== null, key: this.#exactKey(row.slice(2), id) };
      }
      if (rows.length < ROWS_AT_ONCE) return;
      after = Number(rows.at(-1)![0]);
    }
  }

  /** The same as ids of keys. A key with a NULL identifies no row and is skipped. */
  *keyIds(from: number, to?: number): Generator<readonly [id: number, keyId: KeyId], void> {
    for (const { id, key } of this.rows(from, to))
      if (!key.includes(null)) yield [id, keyIdOf(this.shape, key)];
  }

  /**
   * Keys with log ids in (from, to], some perhaps more than once, each with its row of the table. A key with a NULL is skipped
   * where no row has it any more. Throws `RowWithoutKey` where one has.
   */
  *captured(from: number, to: number): Generator<CapturedRow, void> {
    let isChecked = false;
    for (const row of this.#capturedRows(from, to)) {
      if (!row.slice(4, 4 + this.shape.key.length).includes(null)) {
        yield this.#capturedRow(row);
        continue;
      }
      if (!isChecked && this.hasRowWithoutKey(from, to)) throw new RowWithoutKey();
      isChecked = true;
    }
  }

  *#capturedRows(from: number, to: number): Generator<Value[], void> {
    this.#captured ??= this.#prepare(this.#capturedSql());
    for (let at = from; at < to;) {
      const end = this.#endOfPart(at, Math.min(to, at + IDS_AT_ONCE));
      yield* this.#captured(at, end);
      at = end;
    }
  }

  /** The end of a range of log ids from `from` on, up to `to`, whose rows fit in memory; at least one id. */
  #endOfPart(from: number, to: number): number {
    if (this.#largeColumns.length === 0) return to;
    this.#size ??= this.#prepare(this.#sizeSql());
    let end = to;
    while (end - from > 1 && Number(this.#size(from, end)[0]![0]) > BYTES_AT_ONCE)
      end = from + Math.ceil((end - from) / 2);
    return end;
  }

  /** Log ids in (from, to] name a row with NULL in its key, and the table has it now. */
  hasRowWithoutKey(from: number, to: number): boolean {
    this.#withoutKey ??= this.#prepare(this.#withoutKeySql());
    return this.#withoutKey(from, to).length > 0;
  }

  #withoutKeySql(): string {
    const { key, keyCollations } = this.shape;
    const isNull = this.#keys.map((k) => `l.${k} IS NULL`).join(" OR ");
    const isSame = key.map(
      (k, i) => `${this.#column(k)} COLLATE ${keyCollations[i]!} IS l.${this.#keys[i]!}`,
    );
    return `SELECT 1 FROM ${this.#log} l WHERE l.id > ? AND l.id <= ? AND l.v IS NOT 0 AND (${isNull})
              AND EXISTS (SELECT 1 FROM ${this.#table} t WHERE ${isSame.join(" AND ")}) LIMIT 1`;
  }

  /** SQLite knows the length of a value without reading it. Numbers have no large ones. */
  #sizeSql(): string {
    const sizes = this.#largeColumns.map((i) => `total(octet_length(${this.#column(i)}))`);
    return `SELECT ${sizes.join(" + ")} FROM ${this.#log} l JOIN ${this.#table} t ON ${this.#joined}
              WHERE l.id > ? AND l.id <= ?`;
  }

  /** The keys are sorted before the join: with it, SQLite would sort copies of the images. LIMIT makes it keep that order. */
  #capturedSql(): string {
    const { key, keyCollations, columns } = this.shape;
    const keys = this.#keys;
    const grouped = keys.map((k, i) => `${k} COLLATE ${keyCollations[i]!}`).join(", ");
    const images = columns.map((_, i) => this.#column(i)).join(", ");
    return `SELECT l.a, l.n, l.s, ${this.#column(key[0]!)} IS NULL, ${keys.map((k) => `l.${k}`).join(", ")}, ${images}
         FROM (SELECT ${keys.join(", ")}, min(id) a, max(id) n, min(v IS NOT NULL) s FROM ${this.#log}
                 WHERE id > ? AND id <= ? AND v IS NOT 0 GROUP BY ${grouped} ORDER BY a LIMIT -1) l
         LEFT JOIN ${this.#table} t ON ${this.#joined}`;
  }

  #capturedRow(row: Value[]): CapturedRow {
    const width = this.shape.key.length;
    const maxId = Number(row[1]);
    const key = row.slice(4, 4 + width);
    this.#exactKey(key, maxId);
    let image: Value[] | null = null;
    if (row[3] !== 1n) {
      image = row.slice(4 + width);
      for (let i = 0; i < image.length; i++) {
        const value = image[i]!;
        if (mayBeOdd(value, this.#encoding)) image[i] = this.#reread(value, this.#column(i), maxId);
      }
    }
    const keyId = keyIdOf(this.shape, key);
    return { keyId, key, minId: Number(row[0]), maxId, suspect: row[2] === 1n, image };
  }

  /** Puts exact values into the key of log row `id`, and returns it. */
  #exactKey(key: Value[], id: number): Value[] {
    for (let i = 0; i < key.length; i++) {
      const value = key[i]!;
      if (mayBeOdd(value, this.#encoding)) key[i] = this.#reread(value, `l.${this.#keys[i]!}`, id);
    }
    return key;
  }

  /** A text of log row `id`, or of its row of the table, read again as bytes. */
  #reread(text: string, expression: string, id: number): string | TextBytes {
    let select = this.#bytes.get(expression);
    if (select === undefined) {
      const from = expression.startsWith("l.")
        ? `${this.#log} l`
        : `${this.#log} l LEFT JOIN ${this.#table} t ON ${this.#joined}`;
      select = this.#prepare(`SELECT CAST(${expression} AS BLOB) FROM ${from} WHERE l.id = ?`);
      this.#bytes.set(expression, select);
    }
    const read = select;
    return exactText(text, this.#encoding, () => read(id)[0]![0] as Uint8Array);
  }
}
