/**
 * Makes everything that was read of the app database durable, without SQLite: one descriptor each of the file, its WAL and
 * its folder. They stay open while the process lives: when any descriptor of a file is closed, POSIX drops SQLite's locks on
 * it. The next application to close would then delete the WAL. The same descriptors tell whether the path still leads to them.
 */
import { closeSync, fdatasyncSync, fstatSync, fsyncSync, openSync, statSync } from "node:fs";
import { dirname } from "node:path";
import type { FileChange } from "../rows/file-life.ts";
import type { SqliteVersion } from "../sqlite/versions/sqlite-version.ts";
import { WriterVersion } from "../sqlite/versions/writer-version.ts";

/**
 * Descriptors by device and inode, open as long as the process lives. Even when all connections are closed, a statement that
 * the garbage collector has not reached yet keeps one of them, and SQLite goes on to count its lock.
 */
const DESCRIPTORS = new Map<string, number>();

function descriptorOf(path: string, inode: string): number {
  let descriptor = DESCRIPTORS.get(inode);
  if (descriptor === undefined) DESCRIPTORS.set(inode, (descriptor = openSync(path, "r+")));
  return descriptor;
}

export class FileSync {
  readonly path: string;
  readonly #file: number;
  readonly #folder: number | null;
  #wal: number | null = null;
  #walInode = 0;
  readonly #inode: number;
  readonly #device: number;
  /** Of the WAL and of its index that SQLite opened; null: not seen yet. */
  #firstWal: number | null = null;
  #firstIndex: number | null = null;
  readonly #versions = new WriterVersion();

  /** The file must exist. */
  constructor(path: string) {
    this.path = path;
    const { ino, dev } = statSync(path);
    this.#inode = ino;
    this.#device = dev;
    this.#file = descriptorOf(path, `${dev}/${ino}`);
    // A folder cannot be opened on every platform; its entries are then as durable as the platform makes them.
    this.#folder = process.platform === "win32" ? null : openSync(dirname(path), "r");
  }

  /** Everything committed before the call survives a power cut after it. */
  sync(): void {
    const inode = walInode(this.path);
    if (inode === null) {
      fdatasyncSync(this.#file);
      return;
    }
    if (this.#wal === null || inode !== this.#walInode) {
      this.#openWal();
      if (this.#folder !== null) fsyncSync(this.#folder);
      fdatasyncSync(this.#file);
    }
    fdatasyncSync(this.#wal!);
  }

  /** The last version of SQLite, beside Marmot's own, that wrote the file's first page; null: none was seen. */
  writerVersion(): SqliteVersion | null {
    if (this.#wal === null && walInode(this.path) !== null) this.#openWal();
    this.#versions.look({ file: this.#file, wal: this.#wal });
    return this.#versions.application;
  }

  #openWal(): void {
    if (this.#wal !== null) closeSync(this.#wal); // of a deleted WAL: no locks depend on it
    this.#wal = openSync(`${this.path}-wal`, "r+");
    this.#walInode = fstatSync(this.#wal).ino;
  }

  /**
   * How the path differs from the file that is open; null: it does not. While a connection is open, a WAL and its index stay
   * the same.
   */
  look(): FileChange | null {
    const now = statSync(this.path, { throwIfNoEntry: false });
    if (now === undefined) return "missing";
    if (now.ino !== this.#inode || now.dev !== this.#device) return "replaced";
    if (now.size === 0) return "truncated";
    const wal = walInode(this.path);
    this.#firstWal ??= wal;
    if (wal !== this.#firstWal) return "wal-removed";
    const index = inodeOf(`${this.path}-shm`);
    this.#firstIndex ??= index;
    return index === this.#firstIndex ? null : "shm-removed";
  }

  /** The descriptor of the file itself stays open; see `DESCRIPTORS`. */
  close(): void {
    if (this.#wal !== null) closeSync(this.#wal);
    if (this.#folder !== null) closeSync(this.#folder);
  }
}

const walInode = (path: string): number | null => inodeOf(`${path}-wal`);

function inodeOf(path: string): number | null {
  return statSync(path, { throwIfNoEntry: false })?.ino ?? null;
}
