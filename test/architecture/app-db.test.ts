/** One place opens the application's file: every other opening of a database in src is listed here with its file. */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";

const SOURCE = join(import.meta.dir, "../../src");

/** File of src ⇒ first arguments of its calls. None of them is the application's file while applications may use it. */
const OTHERS: Readonly<Record<string, readonly string[]>> = {
  "cli/demo/files.ts": ["file"], // the demo plays the application
  "cli/verbs/version.ts": ['":memory:"'],
  "log-store/sqlite-log-store.ts": ["path", "path"],
  "node/node.ts": ["this.#paths.lock", "this.#paths.replica"],
  "node/offline/cleanup.ts": ["path"], // lock.db
  "node/startup/check-files.ts": ["paths.replica"],
  "node/startup/join-cluster.ts": ["paths.replica", "paths.replica"],
  "operations/verify/verify.ts": ["member.options.paths.replica", "path", "member.options.paths.replica"],
  "reflect/app-db-connection.ts": ['":memory:"'],
  "replica/copies/build-app-db.ts": ["replica", "fresh"], // renamed to its place when it is complete
  "replica/copies/initial-import.ts": ["fresh"],
  "replica/copies/install-snapshot.ts": ["received", "received", "path"],
  "replica/migrate/image-map.ts": ['":memory:"'],
  "replica/open-replica.ts": ["path"],
  "schema-sync/compare-uncaptured.ts": ["replicaFile"],
  "schema-sync/rejects-file.ts": ["file"], // lost.db
  "schema-sync/rekeyed-tables.ts": ['":memory:"'],
  "schema-sync/workspace.ts": ["replicaFile"],
  "schema/diff/alter-plan.ts": ['":memory:"'],
  "schema/rebase/check-state.ts": ['":memory:"'],
  "schema/triggers.ts": ['":memory:"'],
  "snapshot/take.ts": ["this.#path"],
  "sqlite/sqlite-version.ts": ['":memory:"'],
};

/** These are the one place, and the one below it. */
const OPENING = ["sqlite/open-app-db.ts", "sqlite/open.ts"];

const files = [...new Bun.Glob("**/*.ts").scanSync({ cwd: SOURCE })].sort();
const textOf = (file: string): string =>
  readFileSync(join(SOURCE, file), "utf8").replace(/\/\*[\s\S]*?\*\/|\/\/[^\n]*/g, " ");

const opened = (text: string): string[] =>
  [...text.matchAll(/\b(?:openDatabase|new Database|new DatabaseSync)\(\s*([^,)]+)/g)].map((m) =>
    m[1]!.trim(),
  );

test("only one place opens the application's file", () => {
  const found = Object.fromEntries(
    files
      .filter((file) => !OPENING.includes(file))
      .flatMap((file) => {
        const calls = opened(textOf(file));
        return calls.length === 0 ? [] : [[file, calls]];
      }),
  );
  const expected = Object.fromEntries(Object.entries(OTHERS).filter(([, calls]) => calls.length > 0));
  expect(found).toEqual(expected);
});

test("no checkpoint but TRUNCATE and NOOP is run on the application's file", () => {
  const checkpoints = (file: string): string[] =>
    [...textOf(file).matchAll(/wal_checkpoint\s*(?:[(=]\s*(\w+))?/g)].map((m) => m[1] ?? "");
  const found = files.filter((file) => checkpoints(file).length > 0);
  expect(found).toEqual([
    "log-store/sqlite-log-store.ts",
    "replica/copies/install-snapshot.ts",
    "replica/open-replica.ts",
    "sqlite/open-app-db.ts",
  ]);
  expect(checkpoints("sqlite/open-app-db.ts").sort()).toEqual(["NOOP", "TRUNCATE"]);
});

test("write transactions on the application's file begin where the WAL is looked at", () => {
  const beginning = files.filter((file) => /["'`;]\s*BEGIN (?:IMMEDIATE|EXCLUSIVE)/.test(textOf(file)));
  expect(beginning).toEqual([
    "cli/demo/tour.ts",
    "log-store/sqlite-log-store.ts",
    "node/node.ts",
    "node/offline/cleanup.ts",
    "replica/replica.ts",
    "schema-sync/propose-local-change.ts",
    "schema-sync/rejects-file.ts",
    "sqlite/open-app-db.ts",
  ]);
});
