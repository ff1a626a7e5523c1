/**
 * Own rows of tables without a declared key that got other rowids in the total order, because rows of other nodes had
 * theirs first. The transaction that shows the other row gives the pending row its new rowid, log rows included. An own row
 * that has not left this node makes room at once for a row of another node under its rowid: no other node knows it.
 */
import type { RedirectedRow } from "../change/changed-rows.ts";
import { type KeyId, keyIdOf } from "../change/key.ts";
import type { PendingRows } from "../change/pending-rows.ts";
import type { Image } from "../change/value.ts";
import type { ChangeLogWriter } from "./change-log-writer.ts";

/** A rowid that no row of the replica ever had, above `above` if there is one, and for which `used` is false. */
export type FreeRowid = (used: (rowid: bigint) => boolean, above: bigint) => bigint;

/** Of one table: the rows of the total order that have other rowids, and rowids whose pending rows must make room. */
export interface Displaced {
  readonly redirected: readonly RedirectedRow[];
  readonly occupied: readonly bigint[];
}

/** New rowids of a table's pending rows: rowid ⇒ rowid. */
export function redirections(
  log: ChangeLogWriter,
  { redirected, occupied }: Displaced,
  pending: PendingRows,
  freeRowid: FreeRowid,
): Map<bigint, bigint> {
  const { shape } = log;
  const isPending = (rowid: bigint): boolean => pending.has(shape.id, keyIdOf(shape, [rowid]));
  const moves = new Map<bigint, bigint>();
  for (const { from, to } of redirected) if (isPending(from)) moves.set(from, to);
  let above: bigint | null = null;
  for (const to of [...redirected.map((row) => row.to), ...occupied]) {
    if (moves.has(to) || !isPending(to)) continue;
    above ??= log.highestRowid(pending);
    const used = (rowid: bigint): boolean => isPending(rowid) || log.access.get([rowid]) !== null;
    const free = freeRowid((rowid) => used(rowid) || [...moves.values()].includes(rowid), above);
    moves.set(to, free);
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
