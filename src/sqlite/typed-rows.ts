/**
 * Rows of SQLite as typed values, from either of Bun's SQLite modules. A statement's result has no type that the compiler
 * knows, so each cell is checked while it is read. Hot paths, whose columns only this program writes, use `trusted`.
 */

/** Gives the cell as `T`, or throws `CellError`. */
export type CellReader<T> = (cell: unknown) => T;

/** A column holds a value of another type than its reader expects. */
export class CellError extends TypeError {
  override name = "CellError";
}

function kindOf(cell: unknown): string {
  if (cell === null) return "NULL";
  if (cell === undefined) return "no such column";
  if (typeof cell === "bigint") return "an integer";
  if (typeof cell === "number") return Number.isInteger(cell) ? "an integer" : "a real number";
  if (typeof cell === "string") return "a text";
  return cell instanceof Uint8Array ? "a blob" : typeof cell;
}

function refuse(expected: string, cell: unknown): never {
  throw new CellError(`expected ${expected}, got ${kindOf(cell)}`);
}

/** As a `number`, whichever way the statement returns integers; beyond 2^53 it is refused. */
export function integer(cell: unknown): number {
  const value = typeof cell === "bigint" ? Number(cell) : cell;
  if (typeof value !== "number" || !Number.isInteger(value)) return refuse("an integer", cell);
  return Number.isSafeInteger(value) ? value : refuse("an integer of at most 53 bits", cell);
}

/** Of a statement that returns integers as `bigint`. */
export const bigInteger = (cell: unknown): bigint =>
  typeof cell === "bigint" ? cell : refuse("an integer", cell);

export const text = (cell: unknown): string => (typeof cell === "string" ? cell : refuse("a text", cell));

export const blob = (cell: unknown): Uint8Array =>
  cell instanceof Uint8Array ? cell : refuse("a blob", cell);

/** 0 is false; every other integer is true. */
export const flag = (cell: unknown): boolean => integer(cell) !== 0;

export const nullable =
  <T>(read: CellReader<T>): CellReader<T | null> =>
  (cell) =>
    cell === null ? null : read(cell);

/** A text from a fixed set. */
export const oneOf =
  <const T extends string>(...texts: readonly T[]): CellReader<T> =>
  (cell) =>
    texts.find((one) => one === cell) ?? refuse(texts.join(" or "), cell);

type Columns = Readonly<Record<string, CellReader<unknown>>>;
type RowOf<C extends Columns> = { readonly [K in keyof C]: ReturnType<C[K]> };
type Cells = readonly CellReader<unknown>[];
type TupleOf<C extends Cells> = { readonly [I in keyof C]: ReturnType<C[I]> };

function readCell<T>(read: CellReader<T>, cell: unknown, column: string): T {
  try {
    return read(cell);
  } catch (error) {
    throw error instanceof CellError ? new CellError(`column ${column}: ${error.message}`) : error;
  }
}

/** A row that the statement returned as an object, by column names. */
export function readRow<const C extends Columns>(row: unknown, columns: C): RowOf<C> {
  const cells = row as Readonly<Record<string, unknown>>;
  const out: Record<string, unknown> = {};
  for (const name of Object.keys(columns)) out[name] = readCell(columns[name]!, cells[name], name);
  return out as RowOf<C>;
}

export const readRows = <const C extends Columns>(rows: readonly unknown[], columns: C): RowOf<C>[] =>
  rows.map((row) => readRow(row, columns));

/** A row that the statement returned as an array, by position. */
export function readTuple<const C extends Cells>(row: unknown, ...cells: C): TupleOf<C> {
  const values = row as readonly unknown[];
  return cells.map((read, i) => readCell(read, values[i], String(i + 1))) as unknown as TupleOf<C>;
}

export const readTuples = <const C extends Cells>(rows: readonly unknown[], ...cells: C): TupleOf<C>[] =>
  rows.map((row) => readTuple<C>(row, ...cells));

/** Costs nothing and checks nothing: for hot paths over columns that only this program writes. */
export const trusted = <T>(result: unknown): T => result as T;
