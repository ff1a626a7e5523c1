/** Rows that a new constraint rejects: of clashing rows one is kept, and the values of the others are reported. */
import type { DatabaseSync } from "node:sqlite";
import type { Value } from "../../change/value.ts";
import { queryOf } from "../../sqlite/query.ts";
import { quoteIdentifier } from "../../sqlite/quote.ts";
import { keyColumns, rowidAliases, type Table } from "../../sqlite/schema.ts";
import { exactText, mayBeOdd, prepareExact } from "../../rows/exact-values.ts";
import type { RejectedRow } from "../diff/change.ts";

/** Of clashing rows the one with the greatest rank, the latest, is kept. */
export type Rank = (table: string, key: readonly Value[]) => number | bigint | string;

export interface RowRef {
  /** Values of `RejectedRows.identity`. */
  readonly id: readonly (null | bigint | number | string | Uint8Array)[];
  readonly key: readonly Value[];
}

export interface RejectedOptions {
  /** The table's name before and after the change. */
  readonly from: string;
  readonly to: string;
  readonly rank: Rank | undefined;
  readonly report: ((row: RejectedRow) => void) | undefined;
}

/** The rows of one table. At the moment it may have another name than in the options. */
export class RejectedRows {
  readonly #db: DatabaseSync;
  readonly #table: Table;
  readonly #options: RejectedOptions;
  readonly #encoding: string;
  readonly #stored: readonly string[];
  /** Quoted columns that identify a row: the rowid if it has a free name, else the key. */
  readonly identity: readonly string[];
  readonly #rowid: string | null;
  readonly #key: readonly string[];
  readonly name: string;
  count = 0;

  constructor(db: DatabaseSync, table: Table, options: RejectedOptions) {
    this.#db = db;
    this.#table = table;
    this.#options = options;
    this.#encoding = String(queryOf(db)("PRAGMA main.encoding")[0]![0]);
    this.#stored = table.columns.filter((c) => c.hidden === 0).map((c) => c.name);
    this.name = `main.${quoteIdentifier(table.name)}`;
    this.#rowid = table.withoutRowid ? null : (rowidAliases(table)[0] ?? null);
    const key = keyColumns(table).map((c) => quoteIdentifier(c.name));
    this.identity = this.#rowid === null ? key : [this.#rowid];
    this.#key = key.length > 0 ? key : this.identity;
  }

  /** A list of columns to select; `ref` reads it. */
  get columns(): string {
    return [...this.identity, ...this.#withBytes(this.#key)].join(", ");
  }

  /** The greatest key first. Rowids of tables with another key may differ between nodes. */
  get order(): string {
    return this.#key.map((c) => `${c} DESC`).join(", ");
  }

  get where(): string {
    return this.identity.map((c) => `${c} = ?`).join(" AND ");
  }

  #withBytes(columns: readonly string[]): string[] {
    return columns.flatMap((c) => [c, `CASE typeof(${c}) WHEN 'text' THEN CAST(${c} AS BLOB) END`]);
  }

  #exact(row: readonly Value[], at: number, width: number): Value[] {
    return Array.from({ length: width }, (_, i) => {
      const value = row[at + 2 * i]!;
      return mayBeOdd(value, this.#encoding)
        ? exactText(value, this.#encoding, () => row[at + 2 * i + 1] as Uint8Array)
        : value;
    });
  }

  ref(row: readonly Value[], at = 0): RowRef {
    const id = row.slice(at, at + this.identity.length) as RowRef["id"];
    return { id, key: this.#exact(row, at + id.length, this.#key.length) };
  }

  /** The latest first; rows of equal rank in the given order. */
  latestFirst(rows: readonly RowRef[]): RowRef[] {
    const { rank, from } = this.#options;
    if (rank === undefined) return [...rows];
    const ranked = rows.map((row) => ({ row, rank: rank(from, row.key) }));
    return ranked.sort((a, b) => (a.rank < b.rank ? 1 : a.rank > b.rank ? -1 : 0)).map((r) => r.row);
  }

  /** Every row, the latest first. */
  all(): RowRef[] {
    const sql = `SELECT ${this.columns} FROM ${this.name} NOT INDEXED ORDER BY ${this.order}`;
    const rows = prepareExact(this.#db, sql).all();
    return this.latestFirst(rows.map((row) => this.ref(row)));
  }

  /** Reports a row that is about to be deleted. */
  report({ id }: RowRef, reason: string, gaveWayTo: RejectedRow["gaveWayTo"]): void {
    this.count++;
    const { from, to, report } = this.#options;
    if (report === undefined) return;
    const columns = this.#stored.map(quoteIdentifier);
    const sql = `SELECT ${[...this.#withBytes(columns), this.#rowid ?? "NULL"].join(", ")} FROM ${this.name} WHERE ${this.where}`;
    const row = prepareExact(this.#db, sql).get(...id)!;
    report({
      from,
      table: to,
      columns: this.#stored,
      values: this.#exact(row, 0, columns.length),
      rowid: row.at(-1) as bigint | null,
      reason,
      gaveWayTo,
    });
  }

  get table(): Table {
    return this.#table;
  }
}
