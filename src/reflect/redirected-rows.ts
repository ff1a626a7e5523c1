/**
 * Own rows of tables without a declared key that the order put under other rowids, as somebody else's row was there first.
 * What is pending of them moves there in the file, log rows and all, in the transaction that shows the other row. A row that
 * the application has put in that place meanwhile makes room: it is known to nobody else.
 */
import type { RedirectedRow } from "../change/changed-rows.ts";
import { type KeyId, keyIdOf } from "../change/key.ts";
import type { PendingRows } from "../change/pending-rows.ts";
import type { Image } from "../change/value.ts";
import type { ChangeLogRows } from "./change-log-rows.ts";

/** A rowid that no row of the replica ever had, above `above` if there is one, which `used` does not name. */
export type FreeRowid = (used: (rowid: bigint) => boolean, above: bigint) => bigint;

/** Pending rows of a table that move: rowid ⇒ rowid. `moved`: all of the table. */
export function movesOf(
  log: ChangeLogRows,
  moved: readonly RedirectedRow[],
  pending: PendingRows,
  freeRowid: FreeRowid,
): Map<bigint, bigint> {
  const { shape } = log;
  const isPending = (rowid: bigint): boolean => pending.has(shape.id, keyIdOf(shape, [rowid]));
  const moves = new Map<bigint, bigint>();
  for (const { from, to } of moved) if (isPending(from)) moves.set(from, to);
  let above: bigint | null = null;
  for (const { to } of moved) {
    if (moves.has(to) || !isPending(to)) continue;
    above ??= log.highestRowid(pending);
    const used = (rowid: bigint): boolean => isPending(rowid) || log.access.get([rowid]) !== null;
    const free = freeRowid((rowid) => used(rowid) || [...moves.values()].includes(rowid), above);
    moves.set(to, free);
    if (free > above) above = free;
  }
  return moves;
}

/** Does it: rows, then their log rows, then what is known of them to be pending. `write` and `remove` write the file. */
export function moveRows(
  log: ChangeLogRows,
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
