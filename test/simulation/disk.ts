/**
 * The files of a node after a crash. A killed process loses no write. A power cut loses the writes of each file that
 * were not synced, and may tear the frame that was being written.
 */
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { dirname, join, relative } from "node:path";
import { assert } from "../../src/base/assert.ts";
import type { Random } from "../../src/base/random.ts";

/** Bytes before the first frame of a WAL, and before the page of each frame. */
const WAL_HEADER = 32;
const FRAME_HEADER = 24;
/** Bytes of a WAL's index that say how far it was written. */
const INDEX_HEAD = 40;

/** How far a WAL was written, and under which salt: https://www.sqlite.org/walformat.html#wal_index_header */
interface WalMark {
  readonly frames: number;
  readonly salt: string;
}

function markOf(index: Uint8Array): WalMark {
  const view = new DataView(index.buffer, index.byteOffset, index.byteLength);
  return { frames: view.getUint32(16, true), salt: `${view.getUint32(32)}/${view.getUint32(36)}` };
}

/** How far a database's WAL was synced. */
export class SyncMark {
  readonly #path: string;
  #mark: WalMark | null = null;
  readonly #head = new Uint8Array(INDEX_HEAD);

  constructor(path: string) {
    this.#path = path;
  }

  /** Everything committed by now is durable. */
  take(): void {
    // In the simulation one process holds all locks: closing a descriptor must not release the locks of another node.
    let index: number;
    try {
      index = openSync(`${this.#path}-shm`, "r");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
      throw error;
    }
    try {
      const read = readSync(index, this.#head, 0, INDEX_HEAD, 0);
      assert(read === INDEX_HEAD, "a WAL's index has its header");
      this.#mark = markOf(this.#head);
    } finally {
      closeSync(index);
    }
  }

  get mark(): WalMark | null {
    return this.#mark;
  }
}

/** Path ⇒ content. */
export type Image = Map<string, Uint8Array>;

/** Every file of a data directory as it is on disk now, without the shared memory that only running processes use. */
export function imageOf(folder: string): Image {
  const image: Image = new Map();
  const walk = (path: string): void => {
    for (const entry of readdirSync(path, { withFileTypes: true })) {
      const inner = join(path, entry.name);
      if (entry.isDirectory()) walk(inner);
      else if (entry.isFile() && !entry.name.endsWith("-shm")) image.set(inner, readFileSync(inner));
    }
  };
  if (existsSync(folder)) walk(folder);
  return image;
}

/** A database and its WAL. */
export function imageOfDatabase(path: string): Image {
  const image: Image = new Map();
  for (const file of [path, `${path}-wal`]) if (existsSync(file)) image.set(file, readFileSync(file));
  return image;
}

/**
 * Cuts the WAL of an image at a random frame after those that a checkpoint or `synced` made durable. "all": every
 * commit was synced, so only the last frame may be torn. Returns a text with the number of frames left.
 */
export function cutPower(image: Image, path: string, synced: WalMark | "all" | null, random: Random): string {
  const wal = image.get(`${path}-wal`);
  if (wal === undefined || wal.length < WAL_HEADER || !existsSync(`${path}-shm`)) return "no WAL";
  const index = readFileSync(`${path}-shm`);
  const mark = markOf(index);
  const pageSize = new DataView(wal.buffer, wal.byteOffset).getUint32(8);
  const backfilled = new DataView(index.buffer, index.byteOffset).getUint32(96, true);
  const known = synced === "all" ? mark.frames : synced?.salt === mark.salt ? synced.frames : 0;
  const durable = Math.max(backfilled, known);
  const kept =
    durable >= mark.frames || random.chance(0.3)
      ? Math.min(durable, mark.frames)
      : random.between(durable, mark.frames);
  const torn = random.chance(0.5) ? random.below(FRAME_HEADER + pageSize) : 0;
  const end = WAL_HEADER + kept * (FRAME_HEADER + pageSize);
  const left = wal.slice(0, Math.min(wal.length, end + torn));
  // A frame that was being written, over an older generation's or over nothing.
  for (let i = end; i < left.length; i += 97) left[i] = left[i]! ^ 0x5a;
  image.set(`${path}-wal`, left);
  return `${kept} of ${mark.frames}, ${durable} durable`;
}

/** Puts the files back as the image has them; nothing else stays in the folder. */
export function restore(image: Image, folder: string): void {
  rmSync(folder, { recursive: true, force: true });
  for (const [path, content] of image) {
    if (relative(folder, path).startsWith("..")) continue;
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, content);
  }
}

export function restoreDatabase(image: Image, path: string): void {
  for (const suffix of ["", "-wal", "-shm"]) rmSync(path + suffix, { force: true });
  for (const file of [path, `${path}-wal`]) {
    const content = image.get(file);
    if (content !== undefined) writeFileSync(file, content);
  }
}
