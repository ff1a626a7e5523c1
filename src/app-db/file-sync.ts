/**
 * Makes everything that was read of the app database durable, without SQLite: one descriptor each of the file, its WAL and
 * its folder. They stay open while the process lives: when any descriptor of a file is closed, POSIX drops SQLite's locks on
 * it. The next application to close would then delete the WAL.
 */
import { closeSync, fdatasyncSync, fstatSync, fsyncSync, openSync, statSync } from "node:fs";
import { dirname } from "node:path";
import type { SqliteVersion } from "../sqlite/sqlite-version.ts";
import { WriterVersion } from "../sqlite/writer-version.ts";

export class FileSync {
  readonly path: string;
  readonly #file: number;
  readonly #folder: number | null;
  #wal: number | null = null;
  #walInode = 0;
  readonly #versions = new WriterVersion();

  /** The file must exist. */
  constructor(path: string) {
    this.path = path;
    this.#file = openSync(path, "r+");
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
    this.#versions.look({ file: this.#file, wal: this.#wal });
    return this.#versions.application;
  }

  #openWal(): void {
    if (this.#wal !== null) closeSync(this.#wal); // of a deleted WAL: no locks depend on it
    this.#wal = openSync(`${this.path}-wal`, "r+");
    this.#walInode = fstatSync(this.#wal).ino;
  }
}

function walInode(path: string): number | null {
  try {
    return statSync(`${path}-wal`).ino;
  } catch {
    return null;
  }
}
