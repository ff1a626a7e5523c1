/**
 * The SQLite library of a process on macOS. Bun has its own SQLite elsewhere and uses the system's there, which is too
 * old. Marmot takes one that the user names or that a package manager installed.
 */
import { Database } from "bun:sqlite";

/** Names a `libsqlite3.dylib`, before all options are read. */
const VARIABLE = "MARMOT_SQLITE_LIBRARY";

/** Homebrew on Apple silicon, Homebrew on Intel, MacPorts. */
const INSTALLED = [
  "/opt/homebrew/opt/sqlite/lib/libsqlite3.dylib",
  "/usr/local/opt/sqlite/lib/libsqlite3.dylib",
  "/opt/local/lib/libsqlite3.dylib",
];

/** The library to load, or null for the one that Bun has or finds. */
export function chooseLibrary(
  platform: string,
  environment: Readonly<Record<string, string | undefined>>,
  exists: (path: string) => boolean,
): string | null {
  if (platform !== "darwin") return null;
  return environment[VARIABLE] || (INSTALLED.find(exists) ?? null);
}

let failure: string | null = null;

/** Why the chosen library could not be loaded; null: it was, or none was chosen. */
export const libraryFailure = (): string | null => failure;

/** Loads `path`, if any. Works once, before the first database of the process is opened. */
export function loadLibrary(
  path: string | null,
  load: (path: string) => unknown = (file) => Database.setCustomSQLite(file),
): void {
  failure = null;
  if (path === null) return;
  try {
    load(path);
  } catch (error) {
    failure = `${path}: ${error instanceof Error ? error.message : String(error)}`;
  }
}
