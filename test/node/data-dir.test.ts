/** The data directory: one process at a time, and files that a crash left unfinished. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { silentLogger } from "../silent-logger.ts";
import {
  cleanUpAfterCrash,
  findClusterKeys,
  lockDataDir,
  makeClusterKey,
  storeAddresses,
  knowsPeers,
  storedAddresses,
} from "../../src/node/data-dir.ts";
import { type DataPaths, dataPaths } from "../../src/replication/machine/data-paths.ts";

let paths: DataPaths;

beforeEach(() => {
  paths = dataPaths(mkdtempSync(join(tmpdir(), "marmot-data-")));
});

afterEach(() => rmSync(paths.folder, { recursive: true, force: true }));

test("a second lock of the same data directory is refused until the first is closed", () => {
  const lock = lockDataDir(paths);
  expect(() => lockDataDir(paths)).toThrow("another marmot runs on");
  lock.close();
  lockDataDir(paths).close();
});

test("a join that a crash ended after the replica was received gets its log", () => {
  writeFileSync(paths.replica, "replica");
  writeFileSync(paths.joiningLog, "log");
  mkdirSync(paths.incoming);
  cleanUpAfterCrash(paths);
  expect(readFileSync(paths.log, "utf8")).toBe("log");
  expect([existsSync(paths.joiningLog), existsSync(paths.incoming)]).toEqual([false, false]);
});

test("a join that a crash ended before the replica was received begins again without its log", () => {
  writeFileSync(paths.joiningLog, "log");
  writeFileSync(`${paths.replica}.new`, "half");
  cleanUpAfterCrash(paths);
  expect([paths.log, paths.joiningLog, `${paths.replica}.new`].map(existsSync)).toEqual([
    false,
    false,
    false,
  ]);
});

test("stored addresses are read again, and a file that a crash cut short counts as none", () => {
  expect(knowsPeers(paths)).toBeFalse();
  const known = { worked: ["/ip4/10.0.0.1/tcp/8160"], told: ["/ip4/10.0.0.2/tcp/8160/p2p/a"] };
  storeAddresses(paths, known, silentLogger);
  expect(storedAddresses(paths)).toEqual(known);
  storeAddresses(paths, { worked: [], told: known.told }, silentLogger);
  expect(knowsPeers(paths)).toBeTrue();
  writeFileSync(paths.addresses, '["/ip4/10.0.0.1/tcp/8160"]'); // as 0.1 wrote it
  expect(storedAddresses(paths)).toEqual({ worked: ["/ip4/10.0.0.1/tcp/8160"], told: [] });
  writeFileSync(paths.addresses, '["/ip4/10');
  expect(storedAddresses(paths)).toEqual({ worked: [], told: [] });
});

test("a new cluster makes its key, a joining node without one is refused", () => {
  const none = { clusterKeyText: null, clusterKeyFile: null };
  expect(findClusterKeys(none, paths, false)).toBeNull();
  expect(() => findClusterKeys(none, paths, true)).toThrow("the cluster's key is needed");
  const key = makeClusterKey(paths, []);
  expect(findClusterKeys(none, paths, true)).toEqual([key]);
});
