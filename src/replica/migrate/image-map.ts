/**
 * Maps images of rows to the new shape of their table after a schema change, so that before images and images in the
 * journal remain comparable. SQLite itself converts the values, in an empty copy of the table.
 */
import { DatabaseSync } from "node:sqlite";
import type { TableShape } from "../../change/shape.ts";
import { type Image, TextBytes } from "../../change/value.ts";
import { exactRows } from "../../rows/exact-rows.ts";
import { createAsWritten } from "../../sqlite/functions/stand-ins.ts";
import { quoteIdentifier, quoteText } from "../../sqlite/quote.ts";
import { readRow, text } from "../../sqlite/typed-rows.ts";

/** For each stored column of the new shape its place in the old image; null: the column is new. */
export type ColumnPlaces = readonly (number | null)[];

/** Every column has its old place and its old affinity. */
export const isSameImage = (before: TableShape, after: TableShape, places: ColumnPlaces): boolean =>
  before.columns.length === after.columns.length &&
  places.every((from, i) => from === i && before.columns[i]!.affinity === after.columns[i]!.affinity);

class ImageMap {
  readonly #db: DatabaseSync;
  readonly #after: TableShape;
  readonly #places: ColumnPlaces;
  readonly #encoding: string;

  /** `replica`: has the table in its new form. */
  constructor(replica: DatabaseSync, after: TableShape, places: ColumnPlaces) {
    this.#after = after;
    this.#places = places;
    const { encoding } = readRow(replica.prepare("PRAGMA encoding").get(), { encoding: text });
    const select = replica.prepare(`SELECT "sql" FROM main.sqlite_schema WHERE type = 'table' AND name = ?`);
    const { sql } = readRow(select.get(after.name), { sql: text });
    this.#encoding = encoding;
    this.#db = new DatabaseSync(":memory:", { enableForeignKeyConstraints: false });
    this.#db.exec(`PRAGMA encoding = ${quoteText(encoding)}; PRAGMA ignore_check_constraints = ON`);
    createAsWritten(this.#db, sql);
  }

  /** null: the table cannot hold such a row any more. */
  map(image: Image): Image | null {
    const { columns } = this.#after;
    const table = `main.${quoteIdentifier(this.#after.name)}`;
    const kept = this.#places.flatMap((from, i) =>
      from === null || from >= image.length
        ? []
        : [{ name: quoteIdentifier(columns[i]!.name), value: image[from]! }],
    );
    const marks = kept.map(({ value }) => (value instanceof TextBytes ? "CAST(? AS TEXT)" : "?"));
    const bound = kept.map(({ value }) => (value instanceof TextBytes ? value.bytes : value));
    this.#db.exec(`DELETE FROM ${table}`);
    try {
      this.#db
        .prepare(`INSERT INTO ${table}(${kept.map((k) => k.name).join(", ")}) VALUES(${marks.join(", ")})`)
        .run(...bound);
    } catch {
      return null; // a NOT NULL column has no value
    }
    const [row] = [...exactRows(this.#db, this.#after, this.#encoding)];
    return row ?? null;
  }

  close(): void {
    this.#db.close();
  }
}

/** Runs `use` with an image map that is closed afterwards. */
export function withImageMap(
  replica: DatabaseSync,
  after: TableShape,
  places: ColumnPlaces,
  use: (images: ImageMap) => void,
): void {
  const images = new ImageMap(replica, after, places);
  try {
    use(images);
  } finally {
    images.close();
  }
}
