/** Which of its starts a node is at, and everything that must agree before it may go on. Nothing is written when not. */
import { existsSync, statSync } from "node:fs";
import type { DatabaseSync } from "node:sqlite";
import { errorMessage, UserError } from "../base/errors.ts";
import { readCaptured, readMeta } from "../capture/install.ts";
import { SqliteLogStore } from "../log-store/sqlite-log-store.ts";
import { readLocal } from "../replica/open.ts";
import { readSettings, type ReplicaSettings } from "../replica/settings.ts";
import { LOCKED_MS } from "../sqlite/locked.ts";
import { openDatabase } from "../sqlite/open.ts";
import type { DataPaths } from "./paths.ts";

export type StartKind = "member" | "found" | "join";

const HEADER = "SQLite format 3\0";

/** Opens `file` through SQLite alone and reads a page of it. Throws `UserError` for what is no usable database. */
export function requireDatabase(file: string): void {
  readDatabase(file, () => {});
}

/** The same, and reads more with the connection. */
function readDatabase<T>(file: string, read: (db: DatabaseSync) => T): T {
  const stat = statSync(file, { throwIfNoEntry: false });
  if (stat === undefined)
    throw new UserError(
      `${file} does not exist`,
      "check --db; with --create an empty database is made, with --peers it is received",
    );
  if (!stat.isFile())
    throw new UserError(
      `${file} should be a SQLite file and is a ${stat.isDirectory() ? "folder" : "special file"}`,
      "check --db",
    );
  let db: DatabaseSync | null = null;
  try {
    try {
      db = openDatabase(file, { timeout: LOCKED_MS });
      db.prepare("SELECT count(*) FROM sqlite_schema").get();
    } catch (error) {
      throw new UserError(
        `${file} should be a SQLite file (beginning with "${HEADER.trimEnd().replace("\0", "")}") and cannot be read as one: ${errorMessage(error)}`,
        "check --db",
        { cause: error },
      );
    }
    return read(db);
  } finally {
    db?.close();
  }
}

const CHOICES = (paths: DataPaths): string =>
  `give --peers to join the cluster again (after moving ${paths.folder} away), or run marmot cleanup on the file and form a new cluster with it`;

/** Before its first use the log of an unfinished start says nothing that could be lost. */
function isUnused(paths: DataPaths): boolean {
  const log = SqliteLogStore.open(paths.log, 0);
  try {
    return log.incarnation === 0;
  } finally {
    log.close();
  }
}

/** Decides, and refuses what must not be guessed. */
export function startKind(
  file: string,
  paths: DataPaths,
  peerId: string,
  hasPeers: boolean,
  create: boolean,
): StartKind {
  const exists = existsSync(file);
  const hasReplica = existsSync(paths.replica);
  // Somebody's change logs are in the file.
  const isCaptured = exists && readDatabase(file, (db) => hasReplica && readCaptured(db) !== null);
  if (hasReplica) {
    if (!existsSync(paths.log))
      throw new UserError(
        `${paths.log} is missing beside ${paths.replica}: this node's votes are lost`,
        CHOICES(paths),
      );
    // A join that a crash ended between receiving the replica and having the file: it goes on where it was.
    if (!isCaptured && isUnused(paths)) return "join";
    if (!exists)
      throw new UserError(
        `${file} is missing, but ${paths.folder} holds a replica of it`,
        `restore the file, or move ${paths.folder} away and join again with --peers; an absent file is then received`,
      );
    return "member";
  }
  if (existsSync(paths.log) && !isUnused(paths))
    throw new UserError(`${paths.replica} is missing beside ${paths.log}`, CHOICES(paths));
  if (hasPeers) return "join";
  if (!exists && !create)
    throw new UserError(
      `${file} does not exist`,
      "check --db; with --create an empty database is made, with --peers it is received",
    );
  if (exists) {
    const db = openDatabase(file, { readOnly: true, timeout: LOCKED_MS });
    try {
      const meta = readMeta(db, file);
      if (meta !== null && meta.peerId !== peerId)
        throw new UserError(
          `${file} belongs to node ${meta.peerId} of cluster ${meta.clusterId}, whose data directory is not ${paths.folder}`,
          CHOICES(paths),
        );
    } finally {
      db.close();
    }
  }
  return "found";
}

/**
 * Cross-checks file, replica and log of a member. What the application did to the schema meanwhile, or to Marmot's triggers,
 * is found when the file is opened. Returns the cluster's settings. Throws `UserError`.
 */
export function checkMember(file: string, paths: DataPaths, peerId: string): ReplicaSettings {
  const live = openDatabase(file, { timeout: LOCKED_MS });
  const replica = openDatabase(paths.replica, { readOnly: true });
  const log = SqliteLogStore.open(paths.log, 0);
  try {
    const settings = readSettings(replica, paths.replica);
    const meta = readMeta(live, file);
    const who: [string, string, string][] = [
      [paths.replica, settings.clusterId, readLocal(replica, "peer_id") ?? "nobody"],
      [paths.log, log.identity.clusterId, log.identity.peerId],
    ];
    if (meta !== null) who.push([file, meta.clusterId, meta.peerId]);
    for (const [path, cluster, peer] of who) {
      if (cluster !== settings.clusterId)
        throw new UserError(
          `${path} is of cluster ${cluster}, ${paths.replica} of cluster ${settings.clusterId}`,
          CHOICES(paths),
        );
      if (peer !== peerId)
        throw new UserError(
          `${path} is of node ${peer}, the key in ${paths.identity} is of node ${peerId}`,
          CHOICES(paths),
        );
    }
    const captured = readCaptured(live);
    if (meta === null || captured === null)
      throw new UserError(
        `${file} holds no change logs, but ${paths.folder} says that it is replicated: it was replaced or cleaned up`,
        CHOICES(paths),
      );
    return settings;
  } finally {
    live.close();
    replica.close();
    log.close();
  }
}
