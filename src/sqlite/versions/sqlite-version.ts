/** Versions of SQLite, as its files and its library give them, and those with the WAL-reset bug. */
import { DatabaseSync } from "node:sqlite";
import { UserError } from "../../base/errors.ts";
import { libraryFailure } from "./system-library.ts";

/** `3 * 1000000 + minor * 1000 + patch`, as in bytes 96 to 99 of a file. */
export type SqliteVersion = number;

export const showVersion = (version: SqliteVersion): string =>
  `${Math.floor(version / 1_000_000)}.${Math.floor(version / 1000) % 1000}.${version % 1000}`;

export function parseVersion(text: string): SqliteVersion {
  const [major = 0, minor = 0, patch = 0] = text.split(".").map(Number);
  return major * 1_000_000 + minor * 1000 + patch;
}

/** https://www.sqlite.org/wal.html, "The WAL-Reset Bug": 3.7.0 to 3.51.2, without the fixed ends of two older series. */
export function hasWalResetBug(version: SqliteVersion): boolean {
  const series = Math.floor(version / 1000);
  const patch = version % 1000;
  if (version < 3_007_000 || version > 3_051_002) return false;
  return !(series === 3_050 && patch >= 7) && !(series === 3_044 && patch >= 6);
}

/** The first version that Marmot itself runs on: without the bug, and with `PRAGMA wal_checkpoint(NOOP)`. */
export const OLDEST_OWN_VERSION: SqliteVersion = 3_051_003;

let own: SqliteVersion | null = null;

/** Of the library that this process runs on. */
export function ownVersion(): SqliteVersion {
  if (own === null) {
    const db = new DatabaseSync(":memory:");
    const { version } = db.prepare("SELECT sqlite_version() AS version").get() as { version: string };
    db.close();
    own = parseVersion(version);
  }
  return own;
}

/** Throws `UserError` where the library is too old, which can be on macOS alone. */
export function requireOwnSqlite(version: SqliteVersion = ownVersion()): void {
  if (version >= OLDEST_OWN_VERSION) return;
  const failure = libraryFailure();
  const loaded = failure === null ? "this machine's" : `${failure}; the system's`;
  throw new UserError(
    `marmot should run on SQLite ${showVersion(OLDEST_OWN_VERSION)} or later, without the WAL-reset bug, but ${loaded} is ${showVersion(version)}`,
    "brew install sqlite, or name a newer libsqlite3.dylib in MARMOT_SQLITE_LIBRARY",
  );
}
