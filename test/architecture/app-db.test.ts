/** One place opens the application's file: all other databases that src opens are listed here. */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";

const SOURCE = join(import.meta.dir, "../../src");

/** Room and first argument of each call. None of them is the application's file while applications may use it. */
const OTHERS = [
  "cli: file", // the demo plays the application
  'cli: ":memory:"',
  "log-store: path",
  "node: path", // lock.db, or replica.db
  "node: paths.replica",
  "operations: paths.replica",
  "operations: replicator.options.paths.replica",
  "operations: path", // a replica that was received
  'reflect: ":memory:"',
  "replica: path", // replica.db, or a file that is renamed to its place when it is complete
  "replica: replica",
  "replica: received",
  'replica: ":memory:"',
  "schema-sync: replicaFile",
  "schema-sync: file", // lost.db
  'schema-sync: ":memory:"',
  'schema: ":memory:"',
  "snapshot: this.#path",
  'sqlite: ":memory:"',
];
/** The one place, and the one below it. */
const OPENING = ["sqlite/open-app-db.ts", "sqlite/open.ts"];

const files = [...new Bun.Glob("**/*.ts").scanSync({ cwd: SOURCE })].sort();
const textOf = (file: string): string =>
  readFileSync(join(SOURCE, file), "utf8").replace(/\/\*[\s\S]*?\*\/|\/\/[^\n]*/g, " ");
const roomOf = (file: string): string => file.split("/")[0]!;
/** Rooms of the files of which that is true. */
const roomsWhere = (isSo: (file: string) => boolean): string[] => [
  ...new Set(files.filter(isSo).map(roomOf)),
];

const opened = (text: string): string[] =>
  [...text.matchAll(/\b(?:openDatabase|new Database|new DatabaseSync)\(\s*([^,)]+)/g)].map((m) =>
    m[1]!.trim(),
  );

test("only one place opens the application's file", () => {
  const found = files
    .filter((file) => !OPENING.includes(file))
    .flatMap((file) => opened(textOf(file)).map((argument) => `${roomOf(file)}: ${argument}`));
  expect([...new Set(found)].sort()).toEqual(OTHERS.toSorted());
});

test("no checkpoint but TRUNCATE and NOOP is run on the application's file", () => {
  const checkpoints = (file: string): string[] =>
    [...textOf(file).matchAll(/wal_checkpoint\s*(?:[(=]\s*(\w+))?/g)].map((m) => m[1] ?? "");
  expect(roomsWhere((file) => checkpoints(file).length > 0)).toEqual(["log-store", "replica", "sqlite"]);
  expect(files.filter((file) => file.startsWith("sqlite/") && checkpoints(file).length > 0)).toEqual([
    "sqlite/open-app-db.ts",
  ]);
  expect(checkpoints("sqlite/open-app-db.ts").sort()).toEqual(["NOOP", "TRUNCATE"]);
});

test("write transactions on the application's file begin where the WAL is looked at", () => {
  const begins = (file: string): boolean => /["'`;]\s*BEGIN (?:IMMEDIATE|EXCLUSIVE)/.test(textOf(file));
  // cli: the demo; node: lock.db; schema-sync: the replica of a trial, and lost.db.
  const rooms = ["cli", "log-store", "node", "replica", "schema-sync", "sqlite"];
  expect(roomsWhere(begins)).toEqual(rooms);
  expect(files.filter((file) => roomOf(file) === "schema-sync" && begins(file))).toEqual([
    "schema-sync/propose-local-change.ts",
    "schema-sync/rejects-file.ts",
  ]);
});
