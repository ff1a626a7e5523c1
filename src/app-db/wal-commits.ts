/**
 * Which change logs the commits in the WAL wrote. A drain reads several commits at once and cannot tell which of its rows
 * belong together; the WAL has the changed pages of each commit one after the other.
 * Only read: SQLite takes no locks on this file, so that a descriptor of it may be closed.
 */
import { closeSync, fstatSync, openSync, readSync } from "node:fs";

/** A larger WAL is not read. */
const MAX_BYTES = 64 << 20;
const HEADER = 32;
const FRAME_HEADER = 24;
const TABLE_LEAF = 0x0d;

/** Log ids in (from, to] of a table. */
export interface LogRange {
  readonly table: number;
  readonly from: number;
  readonly to: number;
}

/** A log and the pages of the file that it takes. */
export interface LogPages extends LogRange {
  readonly pages: ReadonlySet<number>;
  /** How many rows the range has. */
  readonly rows: number;
}

/** The state of a WAL. SQLite raises the salt by one whenever it begins to write from the start again. */
export interface WalState {
  /** null: no frame of this WAL was ever seen. */
  readonly salt: number | null;
  readonly isEmpty: boolean;
  /** It was not written from the start again since the file was made. */
  readonly isFirst: boolean;
}

/** `before`: the last known state. */
export function walState(wal: string, before: WalState | null): WalState {
  const header = readStart(wal, HEADER);
  if (header === null) return { salt: before?.salt ?? null, isEmpty: true, isFirst: false };
  return { salt: header.readUInt32BE(16), isEmpty: false, isFirst: header.readUInt32BE(12) === 0 };
}

/** Every commit since `before` is in the WAL as it is `now`. */
export function hasAllSince(before: WalState, now: WalState): boolean {
  if (now.isEmpty) return false;
  if (!before.isEmpty) return now.salt === before.salt;
  return before.salt === null ? now.isFirst : now.salt === (before.salt + 1) >>> 0;
}

/**
 * The tables that each commit wrote, of the ranges given; a commit may be named for rows that it only moved to another page.
 * null: not all rows of the ranges are in this WAL.
 */
export function tablesByCommit(wal: string, logs: readonly LogPages[]): ReadonlySet<number>[] | null {
  const bytes = readStart(wal, MAX_BYTES);
  if (bytes === null) return null;
  const pageSize = bytes.readUInt32BE(8);
  const salt = bytes.subarray(16, 24);
  const commits: Set<number>[] = [];
  const seen = new Map<number, Set<number>>(logs.map(({ table }) => [table, new Set<number>()]));
  const images = new Map<number, ReadonlySet<number>>();
  let open: [page: number, image: Buffer][] = [];
  for (let at = HEADER; at + FRAME_HEADER + pageSize <= bytes.length; at += FRAME_HEADER + pageSize) {
    if (!bytes.subarray(at + 8, at + 16).equals(salt)) break;
    const page = bytes.readUInt32BE(at);
    open.push([page, bytes.subarray(at + FRAME_HEADER, at + FRAME_HEADER + pageSize)]);
    if (bytes.readUInt32BE(at + 4) === 0) continue;
    const tables = new Set<number>();
    for (const [number, image] of open) {
      const log = logs.find(({ pages }) => pages.has(number));
      if (log === undefined) continue;
      const ids = new Set(rowidsOf(image).filter((id) => id > log.from && id <= log.to));
      const before = images.get(number);
      for (const id of ids) {
        if (before?.has(id) === true) continue;
        tables.add(log.table);
        seen.get(log.table)!.add(id);
      }
      images.set(number, ids);
    }
    commits.push(tables);
    open = [];
  }
  return logs.every(({ table, rows }) => seen.get(table)!.size === rows) ? commits : null;
}

/** Of a leaf of a rowid table; none of any other page. */
function rowidsOf(page: Buffer): number[] {
  if (page[0] !== TABLE_LEAF) return [];
  const rowids: number[] = [];
  for (let i = 0; i < page.readUInt16BE(3); i++) {
    const cell = page.readUInt16BE(8 + 2 * i);
    const [, size] = varint(page, cell);
    rowids.push(varint(page, cell + size)[0]);
  }
  return rowids;
}

function varint(bytes: Buffer, at: number): [value: number, size: number] {
  let value = 0;
  for (let size = 1; size < 9; size++) {
    const byte = bytes[at + size - 1] ?? 0;
    value = value * 128 + (byte & 0x7f);
    if (byte < 0x80) return [value, size];
  }
  return [value * 256 + (bytes[at + 8] ?? 0), 9];
}

/** null: there is no frame, or all is wanted and it is too long. */
function readStart(path: string, limit: number): Buffer | null {
  let descriptor: number;
  try {
    descriptor = openSync(path, "r");
  } catch {
    return null;
  }
  try {
    const { size } = fstatSync(descriptor);
    if (size < HEADER || (limit === MAX_BYTES && size > MAX_BYTES)) return null;
    const bytes = Buffer.alloc(Math.min(size, limit));
    return readSync(descriptor, bytes, 0, bytes.length, 0) === bytes.length ? bytes : null;
  } finally {
    closeSync(descriptor);
  }
}
