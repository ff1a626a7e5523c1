/**
 * Making the application's file durable up to what was read from it, without SQLite: one descriptor each of the file,
 * its WAL and its folder. They are never closed while the process lives: closing any descriptor of a database makes
 * POSIX drop the locks that SQLite holds on it, and the next application to close would delete the WAL.
 */
import { closeSync, fdatasyncSync, fstatSync, fsyncSync, openSync, statSync } from "node:fs";
import { dirname } from "node:path";

export class FileSync {
  readonly path: string;
  readonly #file: number;
  readonly #folder: number | null;
  readonly #inode: number;
  #wal: number | null = null;
  #walInode = 0;

  /** The file must exist. */
  constructor(path: string) {
    this.path = path;
    this.#file = openSync(path, "r+");
    this.#inode = fstatSync(this.#file).ino;
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
      if (this.#wal !== null) closeSync(this.#wal); // of a WAL that is gone: nobody's locks hang on it
      this.#wal = openSync(`${this.path}-wal`, "r+");
      this.#walInode = fstatSync(this.#wal).ino;
      if (this.#folder !== null) fsyncSync(this.#folder);
      fdatasyncSync(this.#file);
    }
    fdatasyncSync(this.#wal);
  }

  /** The path still leads to the file that was opened. */
  isSame(): boolean {
    try {
      return statSync(this.path).ino === this.#inode;
    } catch {
      return false;
    }
  }
}

function walInode(path: string): number | null {
  try {
    return statSync(`${path}-wal`).ino;
  } catch {
    return null;
  }
}
