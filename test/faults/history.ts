/**
 * The histories of applications: one JSON line before and one after every transaction. An application that is killed
 * between the two leaves an unknown outcome. Times are milliseconds since 1970 with fractions; they run evenly within
 * a process and agree between processes.
 */
import { existsSync, readFileSync } from "node:fs";

/** The tables of the workload. `duels`: rows that two nodes write once each. `items`: "0,1,2,". */
export const SCHEMA = `
  CREATE TABLE hot(id INTEGER PRIMARY KEY, v TEXT NOT NULL);
  CREATE TABLE duels(id INTEGER PRIMARY KEY, v TEXT NOT NULL);
  CREATE TABLE lists(id INTEGER PRIMARY KEY, owner INT NOT NULL, items TEXT NOT NULL);
  CREATE TABLE elements(id TEXT NOT NULL PRIMARY KEY, list INT NOT NULL, n INT NOT NULL) WITHOUT ROWID;
  CREATE TABLE accounts(id INTEGER PRIMARY KEY, owner INT NOT NULL, balance INT NOT NULL);
`;

export const HOT_ROWS = 5;
export const ACCOUNTS_PER_NODE = 5;
export const OPENING_BALANCE = 1000;
export const INITIAL = "initial";

/** Statements that fill the tables before the cluster is formed. */
export function filling(nodes: number): string {
  const sql: string[] = [];
  for (let row = 0; row < HOT_ROWS; row++) sql.push(`INSERT INTO hot VALUES(${row}, '${INITIAL}')`);
  for (let owner = 0; owner < nodes; owner++)
    for (let i = 0; i < ACCOUNTS_PER_NODE; i++)
      sql.push(`INSERT INTO accounts VALUES(${owner * 1000 + i}, ${owner}, ${OPENING_BALANCE})`);
  return sql.join(";\n");
}

export interface RowWrite {
  readonly table: "hot" | "duels";
  readonly row: number;
  readonly value: string;
}

/** The intended changes of one transaction. */
export interface Intent {
  readonly at: number;
  readonly writes: readonly RowWrite[];
  /** An element appended to the list's text and inserted as a row. */
  readonly appends: readonly { readonly list: number; readonly n: number; readonly id: string }[];
}

export interface Reading {
  /** Rows of `hot` and `duels` as "table/row", with their values; null: no such row. */
  readonly rows: Readonly<Record<string, string | null>>;
  /** Lists by id: how many elements; −1: not 0, 1, 2, … in order. */
  readonly lists: Readonly<Record<string, number>>;
  /** Sum of all balances; null: not read. */
  readonly total: number | null;
}

export type Line =
  /** A process begins; it follows on the one before. */
  | { readonly kind: "start"; readonly at: number }
  | { readonly kind: "intent"; readonly op: number; readonly intent: Intent }
  /** `saw`: the values that the same transaction read before it wrote. */
  | { readonly kind: "committed"; readonly op: number; readonly at: number; readonly saw: Reading }
  /** Rolled back for certain. */
  | { readonly kind: "failed"; readonly op: number; readonly error: string }
  | { readonly kind: "read"; readonly at: number; readonly saw: Reading }
  /** `marmot wait` returned 0: everything committed before `from` is confirmed at `to`. */
  | { readonly kind: "confirmed"; readonly from: number; readonly to: number; readonly all: boolean };

/** In order; a last line that a kill tore is no line. */
export function readHistory(file: string): Line[] {
  if (!existsSync(file)) return [];
  const lines: Line[] = [];
  for (const text of readFileSync(file, "utf8").split("\n")) {
    if (text === "") continue;
    try {
      lines.push(JSON.parse(text) as Line);
    } catch {
      continue;
    }
  }
  return lines;
}

/** Number of elements of a list's text; −1 when they are not 0, 1, 2, … */
export function countItems(items: string): number {
  const numbers = items.split(",").slice(0, -1);
  return numbers.every((n, i) => n === String(i)) ? numbers.length : -1;
}

/** `process.hrtime` begins at zero in each process of this runtime: the start of the process is added. */
export const now = (): number => performance.timeOrigin + performance.now();
