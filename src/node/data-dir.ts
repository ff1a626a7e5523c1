/** The data directory of a node: its lock, the cluster key, the addresses of peers, and clean-up after a crash. */
import {
  chmodSync,
  existsSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { basename, join, resolve } from "node:path";
import type { DatabaseSync } from "node:sqlite";
import { errorMessage, isDiskFull, UserError } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import { publish, removeDatabase } from "../replica/copies/database-files.ts";
import { type DataPaths, dataPaths } from "../replication/machine/data-paths.ts";
import { partialCopy } from "../snapshot/partial.ts";
import { openDatabase } from "../sqlite/open.ts";
import { integer, readRow } from "../sqlite/typed-rows.ts";
import {
  createClusterKey,
  keyFingerprint,
  parseClusterKeys,
  readClusterKeys,
} from "../transport/cluster-key.ts";
import type { RememberedAddresses } from "../transport/address-book.ts";
import { writeSecret } from "../transport/identity.ts";

/** Locks the data directory for this process. Closing the returned connection unlocks it. */
export function lockDataDir({ folder, lock: path }: DataPaths): DatabaseSync {
  const lock = openDatabase(path, { timeout: 0 });
  chmodSync(path, 0o600);
  try {
    lock.exec("PRAGMA journal_mode = DELETE");
    // Locking an empty database would write its first page, which fails on a full disk: so it is never empty.
    const { page_count: pages } = readRow(lock.prepare("PRAGMA page_count").get(), { page_count: integer });
    if (pages === 0) lock.exec("PRAGMA user_version = 1");
    lock.exec("BEGIN EXCLUSIVE");
    return lock;
  } catch (error) {
    lock.close();
    if (isDiskFull(error))
      throw new UserError(
        `the disk of ${folder} is full: ${errorMessage(error)}`,
        "free some space, and start the node again",
        { cause: error },
      );
    throw new UserError(
      `another marmot runs on ${folder}`,
      `stop it first; marmot status --data-dir ${folder} shows it`,
      { cause: error },
    );
  }
}

/** Completes or removes the files that a crash left unfinished. */
export function cleanUpAfterCrash(paths: DataPaths): void {
  removeDatabase(`${paths.replica}.new`);
  if (existsSync(paths.replica) && !existsSync(paths.log) && existsSync(paths.joiningLog))
    publish(paths.joiningLog, paths.log);
  removeDatabase(paths.joiningLog);
  // The part that an interrupted join received is continued.
  if (existsSync(paths.replica) || partialCopy(paths.joiningReplica) === null)
    return rmSync(paths.incoming, { recursive: true, force: true });
  for (const name of readdirSync(paths.incoming))
    if (!name.startsWith(basename(paths.joiningReplica)))
      rmSync(join(paths.incoming, name), { recursive: true, force: true });
}

export interface KeySource {
  /** The key itself, from the environment; null: not given. */
  readonly clusterKeyText: string | null;
  /** null: the default path in the data directory. */
  readonly clusterKeyFile: string | null;
}

/** The file that the keys are read from; "": none. */
export const keyFileOf = (
  { clusterKeyText, clusterKeyFile }: KeySource,
  { clusterKey }: DataPaths,
): string => (clusterKeyText !== null ? "" : resolve(clusterKeyFile ?? clusterKey));

/** The cluster keys that are given or stored; null: the cluster has none yet. */
export function findClusterKeys(
  { clusterKeyText, clusterKeyFile }: KeySource,
  paths: DataPaths,
  hasPeers: boolean,
): Uint8Array[] | null {
  if (clusterKeyText !== null) return parseClusterKeys(clusterKeyText, "MARMOT_CLUSTER_KEY");
  if (clusterKeyFile !== null) return readClusterKeys(clusterKeyFile);
  if (existsSync(paths.clusterKey)) return readClusterKeys(paths.clusterKey);
  if (hasPeers) throw missingKey(paths);
  return null;
}

export const missingKey = ({ clusterKey }: DataPaths): UserError =>
  new UserError(
    `the cluster's key is needed, and there is none at ${clusterKey}`,
    "copy cluster.key from a node of the cluster and give it with --cluster-key FILE or in MARMOT_CLUSTER_KEY",
  );

/** The member has another key than all given ones: one of them may be wrong. */
export function isOtherKey(
  source: KeySource,
  { clusterKey: path }: DataPaths,
  given: readonly Uint8Array[],
): boolean {
  if ((source.clusterKeyText === null && source.clusterKeyFile === null) || !existsSync(path)) return false;
  const stored = readClusterKeys(path).map(keyFingerprint);
  return given.every((key) => !stored.includes(keyFingerprint(key)));
}

/** Stores the given key in the data directory, so that later starts need no option for it. */
export function keepClusterKey(
  { clusterKeyText, clusterKeyFile }: KeySource,
  { clusterKey: path }: DataPaths,
): void {
  if (clusterKeyText === null && clusterKeyFile === null) return;
  const given = (clusterKeyText ?? readFileSync(clusterKeyFile!, "utf8")).trim();
  if (existsSync(path) && readFileSync(path, "utf8").trim() === given) return;
  rmSync(`${path}.new`, { force: true });
  writeSecret(`${path}.new`, `${given}\n`);
  renameSync(`${path}.new`, path);
}

/** Key files that other users can read. */
export function keyFileNotes({ clusterKeyFile }: KeySource, { clusterKey, identity }: DataPaths): string[] {
  if (process.platform === "win32") return [];
  return [clusterKeyFile ?? clusterKey, identity].flatMap((path) => {
    const mode = (statSync(path, { throwIfNoEntry: false })?.mode ?? 0) & 0o777;
    if ((mode & 0o077) === 0) return [];
    const shown = mode.toString(8).padStart(4, "0");
    return [`other users can read or change ${path}, whose mode is ${shown} (hint: chmod 600 ${path})`];
  });
}

/** Makes the key of a new cluster. */
export function makeClusterKey(paths: DataPaths, notes: string[]): Uint8Array {
  const line = createClusterKey(paths.clusterKey);
  notes.push(`made the cluster key ${paths.clusterKey}; other nodes join with a copy of it and --peers`);
  return parseClusterKeys(line, paths.clusterKey)[0]!;
}

/** Addresses of peers from earlier runs. */
export function storedAddresses({ addresses }: DataPaths): RememberedAddresses {
  let all: unknown[] = [];
  try {
    const value: unknown = JSON.parse(readFileSync(addresses, "utf8"));
    if (Array.isArray(value)) all = value;
  } catch {
    // no file yet, or one that a crash cut short: peers send their addresses again
  }
  return {
    worked: all.filter((x): x is string => typeof x === "string"),
    // As objects: 0.1 reads the strings alone.
    told: all.flatMap((x) => {
      const told = typeof x === "object" && x !== null && "told" in x ? x.told : null;
      return typeof told === "string" ? [told] : [];
    }),
  };
}

/** Whether the node has met others: without --peers it asks these. */
export function knowsPeers(paths: DataPaths): boolean {
  const { worked, told } = storedAddresses(paths);
  return worked.length + told.length > 0;
}

export const knowsPeersIn = (dataDir: string): boolean => knowsPeers(dataPaths(dataDir));

export function storeAddresses(
  { addresses: path }: DataPaths,
  { worked, told }: RememberedAddresses,
  logger: Logger,
): void {
  try {
    // Written beside and renamed: on a full disk the old file stays.
    writeFileSync(`${path}.new`, JSON.stringify([...worked, ...told.map((address) => ({ told: address }))]), {
      mode: 0o600,
    });
    renameSync(`${path}.new`, path);
  } catch (error) {
    logger.warn("addresses of peers could not be stored", { error: errorMessage(error) });
  }
}
