/**
 * Own rows of tables without a declared key that got other rowids in the total order, because rows of other nodes had
 * theirs first. The transaction that shows the other row gives the pending row its new rowid, log rows included. If the
 * application has put a row at that new rowid, that row makes room: no other node knows it.
 */
import type { RedirectedRow } from "../change/changed-rows.ts";
import { type KeyId, keyIdOf } from "../change/key.ts";
import type { PendingRows } from "../change/pending-rows.ts";
import type { Image } from "../change/value.ts";
import type { ChangeLogWriter } from "./change-log-writer.ts";

/** A rowid that no row of the replica ever had, above `above` if there is one, and for which `used` is false. */
export type FreeRowid = (used: (rowid: bigint) => boolean, above: bigint) => bigint;

/** New rowids of a table's pending rows: rowid ⇒ rowid. `redirected`: all of the table. */
export function redirections(
  log: ChangeLogWriter,
  redirected: readonly RedirectedRow[],
  pending: PendingRows,
  freeRowid: FreeRowid,
): Map<bigint, bigint> {
  const { shape } = log;
  const isPending = (rowid: bigint): boolean => pending.has(shape.id, keyIdOf(shape, [rowid]));
  const moves = new Map<bigint, bigint>();
  for (const { from, to } of redirected) if (isPending(from)) moves.set(from, to);
  const inTheWay = redirected.flatMap(({ to }) => (!moves.has(to) && isPending(to) ? [to] : []));
  return freeRowids(log, inTheWay, pending, freeRowid, moves);
}

/** Adds a new rowid for each of the pending rows to `moves`. */
export function freeRowids(
  log: ChangeLogWriter,
  rowids: readonly bigint[],
  pending: PendingRows,
  freeRowid: FreeRowid,
  moves = new Map<bigint, bigint>(),
): Map<bigint, bigint> {
  const { shape } = log;
  let above: bigint | null = null;
  const taken = new Set(moves.values());
  const used = (rowid: bigint): boolean =>
    taken.has(rowid) || pending.has(shape.id, keyIdOf(shape, [rowid])) || log.access.get([rowid]) !== null;
  for (const rowid of rowids) {
    above ??= log.highestRowid(pending);
    const free = freeRowid(used, above);
    moves.set(rowid, free);
    taken.add(free);
    if (free > above) above = free;
  }
  return moves;
}

/** Moves the rows, then their log rows, then their pending keys. `write` and `remove` write the file. */
export function redirectRows(
  log: ChangeLogWriter,
  moves: ReadonlyMap<bigint, bigint>,
  pending: PendingRows,
  writes: {
    readonly remove: (key: readonly bigint[]) => void;
    readonly write: (image: Image) => void;
  },
): void {
  const { shape, access } = log;
  const keyId = (rowid: bigint): KeyId => keyIdOf(shape, [rowid]);
  const rows = [...moves].map(([from, to]) => ({ from, to, image: access.get([from]) }));
  for (const { from, image } of rows) if (image !== null) writes.remove([from]);
  for (const { to, image } of rows) if (image !== null) writes.write(image.with(0, to));
  const ids = rows.map(({ from, to }) => ({ to, row: pending.remove(shape.id, keyId(from))! }));
  const oldest = Math.min(...ids.map(({ row }) => row.minId));
  const newest = Math.max(...ids.map(({ row }) => row.maxId));
  log.rename(moves, oldest, newest);
  for (const { to, row } of ids) pending.note(shape.id, keyId(to), row.minId, row.maxId);
}
