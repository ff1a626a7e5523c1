/** Versions of SQLite: which have the WAL-reset bug, and which one the application's file shows. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { UserError } from "../../src/base/errors.ts";
import {
  hasWalResetBug,
  ownVersion,
  parseVersion,
  requireOwnSqlite,
  showVersion,
} from "../../src/sqlite/versions/sqlite-version.ts";
import { chooseLibrary, libraryFailure, loadLibrary } from "../../src/sqlite/versions/system-library.ts";
import { readWriterVersion, walResetNote, WriterVersion } from "../../src/sqlite/versions/writer-version.ts";

let folder = "";
let file = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "marmot-test-"));
  file = join(folder, "app.db");
});
afterEach(() => rmSync(folder, { recursive: true }));

/** Puts the version at `offset` into a file, as that version of SQLite does when it writes the first page. */
function stamp(path: string, offset: number, version: number): void {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(version);
  const descriptor = openSync(path, "r+");
  writeSync(descriptor, bytes, 0, 4, offset);
  closeSync(descriptor);
}

test("the versions with the bug are 3.7.0 to 3.51.2 without the fixed ends of two series", () => {
  const bug = (text: string): boolean => hasWalResetBug(parseVersion(text));
  for (const version of [
    "3.7.0",
    "3.40.1",
    "3.44.5",
    "3.45.1",
    "3.46.0",
    "3.50.4",
    "3.50.6",
    "3.51.0",
    "3.51.2",
  ])
    expect([version, bug(version)]).toEqual([version, true]);
  for (const version of ["3.6.23", "3.44.6", "3.44.7", "3.50.7", "3.51.3", "3.52.0", "3.54.1"])
    expect([version, bug(version)]).toEqual([version, false]);
  expect(showVersion(parseVersion("3.40.1"))).toBe("3.40.1");
});

test("Marmot's own SQLite is refused below 3.51.3", () => {
  expect(hasWalResetBug(ownVersion())).toBe(false);
  requireOwnSqlite();
  requireOwnSqlite(parseVersion("3.51.3"));
  for (const version of ["3.43.2", "3.50.4", "3.51.2"])
    expect(() => requireOwnSqlite(parseVersion(version))).toThrow(UserError);
});

test("on macOS the library that is named or that a package manager installed is loaded, elsewhere none", () => {
  const homebrew = "/usr/local/opt/sqlite/lib/libsqlite3.dylib";
  const installed = (path: string): boolean => path === homebrew;
  const named = { MARMOT_SQLITE_LIBRARY: "/x.dylib" };
  expect(chooseLibrary("darwin", named, installed)).toBe("/x.dylib");
  expect(chooseLibrary("darwin", { MARMOT_SQLITE_LIBRARY: "" }, installed)).toBe(homebrew);
  expect(chooseLibrary("darwin", {}, () => false)).toBeNull();
  expect(chooseLibrary("linux", named, installed)).toBeNull();
  const loaded: string[] = [];
  loadLibrary(null, (path) => loaded.push(path));
  loadLibrary(homebrew, (path) => loaded.push(path));
  expect([loaded, libraryFailure()]).toEqual([[homebrew], null]);
});

test("a library that cannot be loaded is in the refusal of the system's", () => {
  loadLibrary("/x.dylib", () => {
    throw new Error("no such file");
  });
  const refused = (): void => requireOwnSqlite(parseVersion("3.43.2"));
  expect(refused).toThrow("but /x.dylib: no such file; the system's is 3.43.2");
  loadLibrary(null);
  expect(refused).toThrow("but this machine's is 3.43.2");
});

test("the file's first page shows the application's version, and Marmot's own says nothing", () => {
  const db = new DatabaseSync(file);
  db.exec("PRAGMA journal_mode = WAL; CREATE TABLE t(a)");
  db.close();
  expect(readWriterVersion(file)).toBeNull();
  stamp(file, 96, 3_040_001);
  expect(readWriterVersion(file)).toBe(3_040_001);
  expect(walResetNote(3_040_001)!.message).toContain("SQLite 3.40.1");
  expect(walResetNote(3_051_003)).toBeNull();
  expect(readWriterVersion(join(folder, "absent.db"))).toBeNull();
});

test("the newest first page in the WAL is seen, also when it comes later", () => {
  const db = new DatabaseSync(file);
  db.exec("PRAGMA journal_mode = WAL; CREATE TABLE t(a)");
  const source = { file: openSync(file, "r"), wal: openSync(`${file}-wal`, "r") };
  const versions = new WriterVersion();
  versions.look(source);
  expect(versions.application).toBeNull();
  const before = Bun.file(`${file}-wal`).size;
  db.exec("CREATE TABLE u(a)");
  // Its first frame may be of another page: find the one of page 1.
  const { page_size: size } = db.prepare("PRAGMA page_size").get() as { page_size: number };
  const wal = readFileSync(`${file}-wal`);
  for (let at = before; at < wal.length; at += 24 + size)
    if (wal.readUInt32BE(at) === 1) stamp(`${file}-wal`, at + 24 + 96, 3_045_001);
  versions.look(source);
  expect(versions.application).toBe(3_045_001);
  for (const descriptor of Object.values(source)) closeSync(descriptor);
  db.close();
});
