/**
 * Images of rows from before a change of their table, as the table would hold them after it: what was kept of rows
 * (references, the journal) stays comparable. SQLite itself says what becomes of a value, on an empty copy of the table.
 */
import { DatabaseSync } from "node:sqlite";
import type { TableShape } from "../../change/shape.ts";
import { type Image, TextBytes } from "../../change/value.ts";
import { exactRows } from "../../rows/exact-rows.ts";
import { quoteIdentifier, quoteText } from "../../sqlite/quote.ts";

/** The place in the older image of each stored column now; null: it is new. */
export type ColumnPlaces = readonly (number | null)[];

/** Every column is where it was, and means the same. */
export const isSameImage = (before: TableShape, after: TableShape, places: ColumnPlaces): boolean =>
  before.columns.length === after.columns.length &&
  places.every((from, i) => from === i && before.columns[i]!.affinity === after.columns[i]!.affinity);

export class ImageMap {
  readonly #db: DatabaseSync;
  readonly #after: TableShape;
  readonly #places: ColumnPlaces;
  readonly #encoding: string;

  /** `sql`: the table's text after the change. */
  constructor(sql: string, after: TableShape, places: ColumnPlaces, encoding: string) {
    this.#after = after;
    this.#places = places;
    this.#encoding = encoding;
    this.#db = new DatabaseSync(":memory:", { enableForeignKeyConstraints: false });
    this.#db.exec(`PRAGMA encoding = ${quoteText(encoding)}; PRAGMA ignore_check_constraints = ON`);
    this.#db.exec(sql);
  }

  /** null: the table takes no such row any more. */
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
      return null; // a column that must have a value now
    }
    const [row] = [...exactRows(this.#db, this.#after, this.#encoding)];
    return row ?? null;
  }

  close(): void {
    this.#db.close();
  }
}
