/** The part of a snapshot that an interrupted transfer left: a later transfer of the same copy continues it. */
import {
  closeSync,
  constants,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { dirname } from "node:path";
import { BLOCK, nextHash } from "./growing-copy.ts";

export interface Partial {
  /** The id that the sender gave the copy. */
  readonly copy: string;
  /** Bytes of it, a multiple of `BLOCK`. */
  readonly length: number;
  readonly hash: bigint;
}

const noteOf = (target: string): string => `${target}.copy`;

/** Opens the file for writing. `copy`: id of the copy; null: the transfer cannot be continued. `keep`: with its content. */
export function openPartial(target: string, copy: string | null, keep: boolean): number {
  mkdirSync(dirname(target), { recursive: true, mode: 0o700 });
  if (!keep) {
    rmSync(target, { force: true });
    forgetPartial(target);
    if (copy !== null) writeFileSync(noteOf(target), copy, { mode: 0o600 });
  }
  return openSync(target, constants.O_CREAT | constants.O_RDWR, 0o600);
}

/** The file is complete, or useless. */
export const forgetPartial = (target: string): void => rmSync(noteOf(target), { force: true });

/** The copy that a part belongs to; null: there is none. */
export const partialCopy = (target: string): string | null =>
  existsSync(noteOf(target)) && existsSync(target) ? readFileSync(noteOf(target), "utf8") : null;

/** Reads and hashes the part. null: there is none. */
export function readPartial(target: string): Partial | null {
  const copy = partialCopy(target);
  if (copy === null) return null;
  const blocks = Math.floor(statSync(target).size / BLOCK);
  const descriptor = openSync(target, "r");
  try {
    const block = Buffer.allocUnsafe(BLOCK);
    let hash = 0n;
    for (let i = 0; i < blocks; i++) {
      if (readSync(descriptor, block, 0, BLOCK, i * BLOCK) !== BLOCK) return null;
      hash = nextHash(hash, block);
    }
    return blocks === 0 || copy === "" ? null : { copy, length: blocks * BLOCK, hash };
  } finally {
    closeSync(descriptor);
  }
}
