/**
 * The versions of SQLite that wrote the first page of a file, read without SQLite: bytes 96 to 99 of the page, in the
 * file itself and in its WAL. https://www.sqlite.org/fileformat2.html §1.3.16 and §4.1.
 */
import { closeSync, openSync, readSync } from "node:fs";
import { hasWalResetBug, ownVersion, showVersion, type SqliteVersion } from "./sqlite-version.ts";

const VERSION_AT = 96;
const HEADER = "SQLite format 3\0";
const WAL_HEAD = 32;
const FRAME_HEAD = 24;
/** Frames looked at in one call; the next goes on there. */
const FRAMES = 500;

/** Calls for a file that is looked at once. */
const LOOKS = 20;

/** Descriptors. `wal`: null where there is none. */
export interface VersionSource {
  readonly file: number;
  readonly wal: number | null;
}

function read(descriptor: number, at: number, length: number): Buffer | null {
  const bytes = Buffer.allocUnsafe(length);
  return readSync(descriptor, bytes, 0, length, at) === length ? bytes : null;
}

/** Remembers the last version that is not Marmot's own. */
export class WriterVersion {
  /** null: none was seen yet. */
  application: SqliteVersion | null = null;
  #salt = "";
  #next = WAL_HEAD;

  look({ file, wal }: VersionSource): void {
    const page = read(file, 0, VERSION_AT + 4);
    if (page !== null && page.toString("latin1", 0, HEADER.length) === HEADER)
      this.#saw(page.readUInt32BE(VERSION_AT));
    if (wal !== null) this.#lookAtWal(wal);
  }

  #saw(version: SqliteVersion): void {
    if (version !== 0 && version !== ownVersion()) this.application = version;
  }

  #lookAtWal(wal: number): void {
    const head = read(wal, 0, WAL_HEAD);
    if (head === null) return;
    const pageSize = head.readUInt32BE(8);
    const salt = head.toString("latin1", 16, 24);
    if (pageSize < 512 || pageSize > 65_536) return;
    if (salt !== this.#salt) {
      this.#salt = salt;
      this.#next = WAL_HEAD;
    }
    for (let i = 0; i < FRAMES; i++) {
      const frame = read(wal, this.#next, FRAME_HEAD);
      if (frame === null || frame.toString("latin1", 8, 16) !== salt) return;
      const version = frame.readUInt32BE(0) === 1 ? read(wal, this.#next + FRAME_HEAD + VERSION_AT, 4) : null;
      if (version !== null) this.#saw(version.readUInt32BE(0));
      this.#next += FRAME_HEAD + pageSize;
    }
  }
}

/**
 * The application's version as the file at `path` tells it; null: it does not. No connection of this process to the file
 * may be open: closing the descriptors would drop its locks.
 */
export function readWriterVersion(path: string): SqliteVersion | null {
  const versions = new WriterVersion();
  const open = (name: string): number | null => {
    try {
      return openSync(name, "r");
    } catch {
      return null; // it is reported by the code that needs it
    }
  };
  const [file, wal] = [open(path), open(`${path}-wal`)];
  try {
    if (file !== null) for (let i = 0; i < LOOKS; i++) versions.look({ file, wal });
  } catch {
    // A folder cannot be read, for example.
  } finally {
    for (const descriptor of [file, wal]) if (descriptor !== null) closeSync(descriptor);
  }
  return versions.application;
}

/** What to say of the application's version, with its hint; null: nothing. */
export function walResetNote(version: SqliteVersion | null): { message: string; hint: string } | null {
  if (version === null || !hasWalResetBug(version)) return null;
  return {
    message: `the application writes with SQLite ${showVersion(version)}, which has the WAL-reset bug: several connections to one file can lose commits`,
    hint: "use SQLite 3.51.3 or later in the application (or 3.50.7, 3.44.6), or let one connection of it write and checkpoint",
  };
}
