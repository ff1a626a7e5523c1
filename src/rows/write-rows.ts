/**
 * Writes rows of one table whose UNIQUE values may move between them. Each row is written when its values are free; a row is deleted first
 * only where values go around in a circle, because a delete fires other triggers than an update.
 */
import { type KeyId, keyIdOf, keyIdOfImage } from "../change/key.ts";
import type { Image, Value } from "../change/value.ts";
import type { RowAccess } from "./row-access.ts";

export interface WantedRow {
  readonly key: readonly Value[];
  /** null: the row is to be deleted. */
  readonly image: Image | null;
}

type WrittenRow = WantedRow & { readonly image: Image };

const isWritten = (row: WantedRow): row is WrittenRow => row.image !== null;

/**
 * `write` writes an image. Returns a row that needs a UNIQUE value of a row that stays; null: all are written. No key comes
 * twice.
 */
export function writeRows<T extends WantedRow>(
  access: RowAccess,
  rows: readonly T[],
  write: (image: Image) => void,
): T | null {
  for (const { key, image } of rows) if (image === null) access.delete(key);
  let pending = rows.filter((row): row is T & WrittenRow => isWritten(row));
  while (pending.length > 0) {
    const blocked = pending.filter(({ image }) => {
      if (access.hasUniques && access.clashes(image).length > 0) return true;
      write(image);
      return false;
    });
    if (blocked.length === pending.length && !openCircle(access, blocked)) return blocked[0]!;
    pending = blocked;
  }
  return null;
}

/** Deletes rows that are written anyway, so that another one can be. False: rows that stay have the values. */
function openCircle(access: RowAccess, blocked: readonly WrittenRow[]): boolean {
  const { shape } = access;
  const keys = new Set<KeyId>(blocked.map(({ image }) => keyIdOfImage(shape, image)));
  for (const { image } of blocked) {
    const clashes = access.clashes(image);
    if (!clashes.every((key) => keys.has(keyIdOf(shape, key)))) continue;
    for (const key of clashes) access.delete(key);
    return true;
  }
  return false;
}
