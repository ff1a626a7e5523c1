/** Decides the kind of a start, and checks that the files of a node belong together. Writes nothing. */
import { existsSync, statSync } from "node:fs";
import type { DatabaseSync } from "node:sqlite";
import { errorMessage, isDamage, UserError } from "../../base/errors.ts";
import { type Halt, HaltError } from "../../base/halt.ts";
import type { Epoch } from "../../shard/epochs.ts";
import type { PeerId } from "../../base/ids.ts";
import { newFileLife, readCaptured, readMeta } from "../../capture/install.ts";
import { readFileLife } from "../../rows/file-life.ts";
import { isAlone, readLogHead, readMembership } from "../../log-store/log-file.ts";
import { lostReplica } from "./lost-replica.ts";
import { readLocal } from "../../replica/store/local.ts";
import { readSettings, type ReplicaSettings } from "../../replica/store/settings.ts";
import { hasTable } from "../../sqlite/has.ts";
import { LOCKED_MS } from "../../sqlite/locked.ts";
import { openDatabase } from "../../sqlite/open.ts";
import { openAppDb } from "../../sqlite/open-app-db.ts";
import { damageText } from "../../sqlite/damage.ts";
import { fileError, salvageHint, sqliteCode } from "./file-access.ts";
import { type DataPaths, dataPaths } from "../../replication/machine/data-paths.ts";
import { logEndHalt } from "../../replication/lives/log-end.ts";
import { marmotCommand } from "../../base/text/commands.ts";
import { shellWord } from "../../base/text/spans.ts";
import { mayFollow, supersededHalt } from "../halt/superseded.ts";
import { formAgainHint, rejoinHint } from "../halt/refused.ts";

/** member: continue as a member; form: form a new cluster; join: join the cluster of the given peers. */
type StartKind = "member" | "form" | "join";

/** Whether the data directory belongs to a node that has its replica already. */
export const hasReplica = (dataDir: string): boolean => existsSync(dataPaths(dataDir).replica);

const HEADER = "SQLite format 3\0";
/** https://www.sqlite.org/rescode.html#corrupt */
const CORRUPT = 11;

/** Reads a page of `file` through SQLite. Throws `UserError` for a file that is no usable database. A damaged one of a member is inspected later. */
export function requireDatabase(file: string, isMember = false): void {
  try {
    readDatabase(file, () => {});
  } catch (error) {
    if (!isMember || !isDamage(error)) throw error;
  }
}

/** The same, and calls `read` with the open connection. */
function readDatabase<T>(file: string, read: (db: DatabaseSync) => T): T {
  const stat = statSync(file, { throwIfNoEntry: false });
  if (stat === undefined)
    throw new UserError(
      `${file} does not exist`,
      "check --db, or give --create to make an empty database, or --peers to receive it from a cluster",
    );
  if (!stat.isFile())
    throw new UserError(
      `${file} should be a SQLite file and is a ${stat.isDirectory() ? "folder" : "special file"}`,
      "give the path of a SQLite file with --db",
    );
  let db: DatabaseSync | null = null;
  try {
    try {
      db = openAppDb(file, { timeout: LOCKED_MS });
      db.prepare("SELECT count(*) FROM sqlite_schema").get();
    } catch (error) {
      const known = fileError(error, file);
      if (known !== null) throw known;
      if (sqliteCode(error) === CORRUPT)
        throw new UserError(`${file} is damaged: ${damageText(error)}`, salvageHint(file), { cause: error });
      throw new UserError(
        `${file} should be a SQLite file (beginning with "${HEADER.trimEnd().replace("\0", "")}") and cannot be read as one: ${errorMessage(error)}`,
        "give the path of a SQLite file with --db",
        { cause: error },
      );
    }
    return read(db);
  } finally {
    db?.close();
  }
}

const choices = (db: string, { folder }: DataPaths): string =>
  `give --peers to join the cluster again (after moving ${shellWord(folder)} to another place), or run ${marmotCommand("cleanup", { db, folder })}, move ${shellWord(folder)} to another place if it is there, and form a new cluster with the file`;

/** The log of an unfinished start: before its first use it holds no votes or entries. */
const isUnused = (paths: DataPaths): boolean => readLogHead(paths.log).incarnation === 0;

/** Marmot's records in the application's file. */
interface FileHead {
  /** null: the file has no tables of Marmot. */
  readonly meta: ReturnType<typeof readMeta>;
  /** The file has change logs. */
  readonly isCaptured: boolean;
  /** Per shard, the position that the file shows. */
  readonly reflected: readonly number[];
}

function readHead(db: DatabaseSync, file: string): FileHead {
  const isCaptured = readCaptured(db) !== null;
  return { meta: readMeta(db, file), isCaptured, reflected: isCaptured ? readReflected(db) : [] };
}

function readReflected(db: DatabaseSync): number[] {
  if (!hasTable(db, "__marmot__status")) return []; // an application dropped it: the file is inspected
  const reflected: number[] = [];
  const rows = db.prepare(`SELECT "name", "value" FROM "__marmot__status" WHERE "item" = 'shard'`).all();
  for (const { name, value } of rows) reflected[Number(name)] = Number(value);
  return reflected;
}

/** Per shard, the position that the file shows; null: it has no tables of Marmot. */
export const readReflectedOf = (file: string): readonly number[] | null =>
  existsSync(file)
    ? readDatabase(file, (db) => (readCaptured(db) === null ? null : readReflected(db)))
    : null;

/** `head`: as read for the decision; null: the file does not exist or was not read. */
export interface Start {
  readonly kind: StartKind;
  readonly head: FileHead | null;
}

export interface StartOptions {
  /** The application's file. */
  readonly file: string;
  readonly paths: DataPaths;
  /** "": this node has no key yet. */
  readonly peerId: PeerId;
  readonly hasPeers: boolean;
  /** Create the file if it is missing. */
  readonly create: boolean;
}

/** null: there is no replica beside the file, or the file is damaged and will be inspected. */
function readHeadOf(file: string, hasReplica: boolean): FileHead | null {
  try {
    return readDatabase(file, (db) => (hasReplica ? readHead(db, file) : null));
  } catch (error) {
    if (hasReplica && isDamage(error)) return { meta: null, isCaptured: true, reflected: [] };
    throw error;
  }
}

/** Throws `UserError` where more than one kind of start is possible. */
export function startKind({ file, paths, peerId, hasPeers, create }: StartOptions): Start {
  const exists = existsSync(file);
  // Without a replica, a member that knows its peers receives it again.
  const isLost =
    exists && hasPeers && !existsSync(paths.replica) && lostReplica(paths) !== null && !isUnused(paths);
  const hasReplica = existsSync(paths.replica) || isLost;
  const head = exists ? readHeadOf(file, hasReplica) : null;
  const isCaptured = head?.isCaptured === true;
  if (hasReplica) {
    if (!existsSync(paths.log))
      throw new UserError(
        `${paths.log} is missing beside ${paths.replica}: the votes of this node are lost`,
        choices(file, paths),
      );
    if (isLost) return { kind: "member", head };
    // A crash interrupted a join between receiving the replica and building the file: the join continues.
    if (!isCaptured && isUnused(paths)) return { kind: "join", head };
    if (!exists)
      throw new UserError(
        `${file} is missing, but ${paths.folder} holds a replica of it`,
        `put the file back, or run ${marmotCommand("repair", { db: file, folder: paths.folder })} to build it from the replica, or move ${paths.folder} to another place and start with --peers`,
      );
    return { kind: "member", head };
  }
  if (existsSync(paths.log) && !isUnused(paths))
    throw new UserError(`${paths.replica} is missing beside ${paths.log}`, choices(file, paths));
  if (hasPeers) return { kind: "join", head };
  if (!exists && !create)
    throw new UserError(
      `${file} does not exist`,
      "check --db, or give --create to make an empty database, or --peers to receive it from a cluster",
    );
  if (exists) {
    const db = openAppDb(file, { readOnly: true, timeout: LOCKED_MS });
    try {
      const meta = readMeta(db, file);
      if (meta !== null && meta.peerId !== peerId)
        throw new UserError(
          `${file} belongs to node ${meta.peerId} of cluster ${meta.clusterId}, whose data directory is not ${paths.folder}`,
          choices(file, paths),
        );
      if (meta !== null && !isNeverUsed(db))
        throw new UserError(
          `${file} is the file of a member of cluster ${meta.clusterId}, and ${paths.folder} has neither its replica nor its log`,
          choices(file, paths),
        );
    } finally {
      db.close();
    }
  }
  return { kind: "form", head };
}

/** Capture was installed by a start that ended before its node wrote: a start begins again. */
const isNeverUsed = (db: DatabaseSync): boolean =>
  hasTable(db, "__marmot__status") && readFileLife(db)?.life === newFileLife().life;

const readPositions = (replica: DatabaseSync): number[] =>
  replica
    .prepare(`SELECT "idx" FROM "__marmot__position" ORDER BY "shard"`)
    .all()
    .map((row) => Number(row.idx));

function supersededAtStart(last: Epoch, paths: DataPaths, file: string): Halt {
  const { self, at } = readMembership(paths.log);
  const by = at.members.find(({ peerId }) => peerId === last.by)?.name ?? last.by;
  return supersededHalt(last, by, {
    place: { db: file, folder: paths.folder },
    follows: mayFollow(at, self),
  });
}

/**
 * Checks that replica and log belong to the same node and cluster. The file is inspected afterwards; see `inspect-file.ts`. `seen`: the head of the file, if it was just read; null: read it. Returns the
 * settings of the cluster. Throws `UserError`, and `HaltError` where the node must not vote.
 */
export function checkMemberFiles(
  file: string,
  paths: DataPaths,
  peerId: PeerId,
  seen: FileHead | null,
): ReplicaSettings {
  const { meta, reflected } = seen ?? readHeadOf(file, true)!;
  const { identity: log, groups, supersededBy } = readLogHead(paths.log);
  const last = supersededBy.at(-1);
  if (last !== undefined) throw new HaltError(supersededAtStart(last, paths, file));
  const replica = openDatabase(paths.replica, { readOnly: true });
  try {
    const settings = readSettings(replica, paths.replica);
    const owners: [string, string, string][] = [
      [paths.replica, settings.clusterId, readLocal(replica, "peer_id") ?? "(none)"],
      [paths.log, log.clusterId, log.peerId],
    ];
    for (const [path, cluster, peer] of owners) {
      if (cluster !== settings.clusterId)
        throw new UserError(
          `${path} belongs to cluster ${cluster}, but ${paths.replica} to cluster ${settings.clusterId}`,
          choices(file, paths),
        );
      if (peer !== peerId)
        throw new UserError(
          `${path} belongs to node ${peer}, but the key in ${paths.identity} to node ${peerId}`,
          choices(file, paths),
        );
    }
    const place = { db: file, folder: paths.folder };
    const halt = logEndHalt(
      {
        ...{ log: paths.log, groups },
        // The file of another node shows positions that this one never had.
        reflected: meta?.peerId === peerId && meta.clusterId === settings.clusterId ? reflected : [],
        replica: readPositions(replica),
        received: JSON.parse(readLocal(replica, "received") ?? "[]") as number[],
      },
      isAlone(paths.log) ? formAgainHint(place) : rejoinHint(place),
    );
    if (halt !== null) throw new HaltError(halt);
    return settings;
  } finally {
    replica.close();
  }
}
