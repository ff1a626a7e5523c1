/** Which of its starts a node is at, and everything that must agree before it may go on. Nothing is written when not. */
import type { PeerId } from "../../base/ids.ts";
import { existsSync, statSync } from "node:fs";
import type { DatabaseSync } from "node:sqlite";
import { errorMessage, UserError } from "../../base/errors.ts";
import { readCaptured, readMeta } from "../../capture/install.ts";
import { readLogHead } from "../../log-store/log-file.ts";
import { readLocal } from "../../replica/open-replica.ts";
import { readSettings, type ReplicaSettings } from "../../replica/store/settings.ts";
import { LOCKED_MS } from "../../sqlite/locked.ts";
import { openDatabase } from "../../sqlite/open.ts";
import { openAppDb } from "../../sqlite/open-app-db.ts";
import { fileError } from "./file-access.ts";
import type { DataPaths } from "../../replication/data-paths.ts";

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
      db = openAppDb(file, { timeout: LOCKED_MS });
      db.prepare("SELECT count(*) FROM sqlite_schema").get();
    } catch (error) {
      const known = fileError(error, file);
      if (known !== null) throw known;
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
const isUnused = (paths: DataPaths): boolean => readLogHead(paths.log).incarnation === 0;

/** What the application's file says of itself. */
interface FileHead {
  /** null: nothing of Marmot is in it. */
  readonly meta: ReturnType<typeof readMeta>;
  /** Somebody's change logs are in it. */
  readonly isCaptured: boolean;
}

const readHead = (db: DatabaseSync, file: string): FileHead => ({
  meta: readMeta(db, file),
  isCaptured: readCaptured(db) !== null,
});

/** A start, and what was seen of the file meanwhile; null: there is none, or nobody looked. */
export interface Start {
  readonly kind: StartKind;
  readonly head: FileHead | null;
}

/** Decides, and refuses what must not be guessed. */
export function startKind(
  file: string,
  paths: DataPaths,
  peerId: PeerId,
  hasPeers: boolean,
  create: boolean,
): Start {
  const exists = existsSync(file);
  const hasReplica = existsSync(paths.replica);
  const head = exists ? readDatabase(file, (db) => (hasReplica ? readHead(db, file) : null)) : null;
  const isCaptured = head?.isCaptured === true;
  if (hasReplica) {
    if (!existsSync(paths.log))
      throw new UserError(
        `${paths.log} is missing beside ${paths.replica}: this node's votes are lost`,
        CHOICES(paths),
      );
    // A join that a crash ended between receiving the replica and having the file: it goes on where it was.
    if (!isCaptured && isUnused(paths)) return { kind: "join", head };
    if (!exists)
      throw new UserError(
        `${file} is missing, but ${paths.folder} holds a replica of it`,
        `restore the file, or move ${paths.folder} away and join again with --peers; an absent file is then received`,
      );
    return { kind: "member", head };
  }
  if (existsSync(paths.log) && !isUnused(paths))
    throw new UserError(`${paths.replica} is missing beside ${paths.log}`, CHOICES(paths));
  if (hasPeers) return { kind: "join", head };
  if (!exists && !create)
    throw new UserError(
      `${file} does not exist`,
      "check --db; with --create an empty database is made, with --peers it is received",
    );
  if (exists) {
    const db = openAppDb(file, { readOnly: true, timeout: LOCKED_MS });
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
  return { kind: "found", head };
}

/**
 * Cross-checks file, replica and log of a member. What the application did to the schema meanwhile, or to Marmot's triggers,
 * is found when the file is opened. `seen`: what was just seen of the file; null: look. Returns the cluster's settings.
 * Throws `UserError`.
 */
export function checkMember(
  file: string,
  paths: DataPaths,
  peerId: PeerId,
  seen: FileHead | null,
): ReplicaSettings {
  const { meta, isCaptured } = seen ?? readDatabase(file, (db) => readHead(db, file));
  const log = readLogHead(paths.log).identity;
  const replica = openDatabase(paths.replica, { readOnly: true });
  try {
    const settings = readSettings(replica, paths.replica);
    const who: [string, string, string][] = [
      [paths.replica, settings.clusterId, readLocal(replica, "peer_id") ?? "nobody"],
      [paths.log, log.clusterId, log.peerId],
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
    if (meta === null || !isCaptured)
      throw new UserError(
        `${file} holds no change logs, but ${paths.folder} says that it is replicated: it was replaced or cleaned up`,
        CHOICES(paths),
      );
    return settings;
  } finally {
    replica.close();
  }
}
