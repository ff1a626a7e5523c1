/**
 * Reads a table's change log together with the rows it names, on a `bun:sqlite` connection with `safeIntegers`: an
 * INTEGER comes as bigint, a REAL as number, so storage classes cost nothing.
 */
import type { Database, Statement } from "bun:sqlite";
import { UserError } from "../base/errors.ts";
import { keyIdOf } from "../change/key.ts";
import type { TableShape } from "../change/shape.ts";
import type { TextBytes, Value } from "../change/value.ts";
import { exactText, keyEquals, mayBeOdd } from "../rows/row-access.ts";
import { quoteIdentifier } from "../sqlite/quote.ts";
import type { CapturedRow, ChangeLogReader } from "./captured-row.ts";

/** Log ids read at once. A key that occurs in two chunks comes twice, with the same image. */
const CHUNK = 2000;

export class ChangeLog implements ChangeLogReader {
  readonly shape: TableShape;
  readonly #db: Database;
  readonly #encoding: string;
  /** Quoted, with its schema. */
  readonly #log: string;
  /** The row `t` of a log row `l`. */
  readonly #joined: string;
  readonly #rowsSql: string;
  /** Prepared on first use: the table may be another one by now, and is then not read. */
  #rows: Statement | null = null;
  readonly #bytes = new Map<number, Statement>();

  constructor(db: Database, shape: TableShape, log: string, encoding: string) {
    this.shape = shape;
    this.#db = db;
    this.#encoding = encoding;
    this.#log = `main.${quoteIdentifier(log)}`;
    const table = `main.${quoteIdentifier(shape.name)}`;
    const name = this.#log;
    const column = (i: number) => quoteIdentifier(shape.columns[i]!.name);
    const keys = shape.key.map((_, i) => `k${i + 1}`);
    const grouped = keys.map((k, i) => `${k} COLLATE ${shape.keyCollations[i]!}`).join(", ");
    this.#joined = keyEquals(
      shape,
      shape.key.map((k) => `t.${column(k)}`),
      keys.map((k) => `l.${k}`),
    );
    const images = shape.columns.map((_, i) => `t.${column(i)}`).join(", ");
    this.#rowsSql = `SELECT l.a, l.n, l.s, t.${column(shape.key[0]!)} IS NULL, ${keys.map((k) => `l.${k}`).join(", ")}, ${images}
         FROM (SELECT ${keys.join(", ")}, min(id) a, max(id) n, min(v IS NOT NULL) s FROM ${name}
                 WHERE id > ? AND id <= ? AND v IS NOT 0 GROUP BY ${grouped}) l
         LEFT JOIN ${table} t ON ${this.#joined} ORDER BY l.a`;
  }

  maxId(): number {
    const [[id] = [null]] = this.#db.prepare(`SELECT max(id) FROM ${this.#log}`).values() as [
      bigint | null,
    ][];
    return Number(id ?? 0n);
  }

  *rows(from: number, to: number): Iterable<CapturedRow> {
    this.#rows ??= this.#db.prepare(this.#rowsSql);
    for (let at = from; at < to; at += CHUNK) {
      const upTo = Math.min(to, at + CHUNK);
      for (const row of this.#rows.values(at, upTo) as unknown as Value[][]) yield this.#captured(row);
    }
  }

  #captured(row: Value[]): CapturedRow {
    const width = this.shape.key.length;
    const key = row.slice(4, 4 + width);
    if (key.includes(null)) this.#refuseNullKey();
    for (let i = 0; i < width; i++) {
      const value = key[i]!;
      if (mayBeOdd(value, this.#encoding)) key[i] = this.#rereadKey(value, i, Number(row[1]));
    }
    const gone = row[3] === 1n;
    let image: Value[] | null = null;
    if (!gone) {
      image = row.slice(4 + width);
      for (let i = 0; i < image.length; i++) {
        const value = image[i]!;
        if (mayBeOdd(value, this.#encoding)) image[i] = this.#reread(value, i, Number(row[1]));
      }
    }
    const keyId = keyIdOf(this.shape, key);
    return { keyId, key, minId: Number(row[0]), maxId: Number(row[1]), suspect: row[2] === 1n, image };
  }

  #refuseNullKey(): never {
    const { name, columns, key } = this.shape;
    const list = key.map((k) => columns[k]!.name).join(", ");
    throw new UserError(
      `a row of ${name} was written with NULL in its key (${list}); such a row has no identity and cannot be replicated`,
      `give the row a key or delete it, declare the key NOT NULL, or leave the table out with --exclude ${name}`,
    );
  }

  /** The cell of the row behind log id `id`, as bytes. */
  #reread(text: string, column: number, id: number): string | TextBytes {
    return exactText(text, this.#encoding, () =>
      this.#cell(column, `t.${quoteIdentifier(this.shape.columns[column]!.name)}`, id),
    );
  }

  #rereadKey(text: string, place: number, id: number): string | TextBytes {
    return exactText(text, this.#encoding, () => this.#cell(-1 - place, `l.k${place + 1}`, id));
  }

  #cell(slot: number, expression: string, id: number): Uint8Array {
    let statement = this.#bytes.get(slot);
    if (statement === undefined) {
      const { shape } = this;
      statement = this.#db.prepare(
        `SELECT CAST(${expression} AS BLOB) FROM ${this.#log} l LEFT JOIN main.${quoteIdentifier(shape.name)} t ON ${this.#joined} WHERE l.id = ?`,
      );
      this.#bytes.set(slot, statement);
    }
    const [[bytes]] = statement.values(id) as unknown as [[Uint8Array]];
    return bytes;
  }
}
