/** Creating and opening log.db, and its header. */
import { Database } from "bun:sqlite";
import { chmodSync, statSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import { assert } from "../base/assert.ts";
import { FORMATS, newerFormat, showRange } from "../base/versions/formats.ts";
import type { LogIndex } from "../base/ids.ts";
import { errorMessage, isDamage, isDiskFull, UserError } from "../base/errors.ts";
import type { MemberId, SnapshotMetadata } from "../raft/model/types.ts";
import type { Epoch } from "../shard/epochs.ts";
import type { GroupConfiguration, MemberInfo } from "../shard/seams.ts";
import { blob, integer, readRow, readTuples, text } from "../sqlite/typed-rows.ts";
import { decodeConfiguration, encodeConfiguration } from "./configuration-codec.ts";
import { damaged, LOG_FORMAT, TABLES } from "./log-format.ts";

/** Name of the fact that a later epoch of the cluster was met. */
export const SUPERSEDED = "superseded";

const WAL_PAGE_BYTES = 4096;
/** A row of this size fills one page. */
const FILLER_BYTES = 4000;

export interface LogIdentity {
  readonly clusterId: string;
  readonly peerId: string;
}

/** The header of a log, without its entries. */
export interface LogHead {
  readonly identity: LogIdentity;
  /** The newest incarnation that was given out; 0: none, the log was never used. */
  readonly incarnation: number;
  /** This node's member id. It never changes: another id under the same key is another member. 0: not stored yet. */
  readonly member: MemberId;
  /** The later epochs of the cluster that this node met; empty: none. */
  readonly supersededBy: readonly Epoch[];
  /** Per shard. Index 0 stands for the place before the first entry. */
  readonly groups: readonly { readonly compactedIndex: LogIndex; readonly lastIndex: LogIndex }[];
}

/** A new log holds no entries: each group begins at a snapshot. */
export interface GroupStart {
  readonly snapshot: SnapshotMetadata;
  readonly configuration: GroupConfiguration;
}

const memberOf = (configuration: GroupConfiguration | undefined, peerId: string): MemberId =>
  configuration?.members.find((m) => m.peerId === peerId)?.id ?? 0;

/**
 * This node's member id, which a log of an older build does not hold: it is stored now. 0: the configuration does not
 * have this node.
 */
export function storedMember(
  db: Database,
  { identity, member }: LogHead,
  configuration: GroupConfiguration | undefined,
): MemberId {
  if (member !== 0) return member;
  const found = memberOf(configuration, identity.peerId);
  if (found !== 0) db.prepare("INSERT OR REPLACE INTO meta VALUES('member', ?)").run(found);
  return found;
}

/** The file must not exist. `starts`: one for each group. `member`: absent: that of the peer in the configuration. */
export function createLog(
  path: string,
  identity: LogIdentity,
  starts: readonly GroupStart[],
  member: MemberId = memberOf(starts[0]?.configuration, identity.peerId),
): void {
  // No WAL yet: the file alone is the log when this returns, and can be renamed.
  const db = new DatabaseSync(path);
  chmodSync(path, 0o600);
  try {
    db.exec("PRAGMA synchronous = FULL; BEGIN IMMEDIATE");
    db.exec(TABLES);
    const meta = db.prepare("INSERT INTO meta VALUES(?, ?)");
    for (const [name, value] of [
      ["format", LOG_FORMAT],
      ["cluster_id", identity.clusterId],
      ["peer_id", identity.peerId],
      ["member", member],
      ["incarnation", 0],
      ["shards", starts.length],
    ] as const)
      meta.run(name, value);
    const group = db.prepare("INSERT INTO grp VALUES(?, ?, 0, ?, ?, ?, ?)");
    const configuration = db.prepare("INSERT INTO configuration VALUES(?, ?, ?)");
    starts.forEach(({ snapshot, configuration: c }, shard) => {
      group.run(shard, snapshot.term, snapshot.index, snapshot.index, snapshot.term, snapshot.index);
      configuration.run(shard, c.index, encodeConfiguration(c));
    });
    db.exec("COMMIT");
  } finally {
    db.close();
  }
}

/** Opens a log for `work`; closed again if that throws. Throws `UserError` for a damaged file and a newer format. */
export function openLog<T>(path: string, work: (db: Database, head: LogHead) => T): T {
  let db: Database | null = null;
  try {
    db = new Database(path, { create: false, readwrite: true });
    db.exec(
      "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -4000; PRAGMA busy_timeout = 2000",
    );
    const { synchronous } = readRow(db.prepare("PRAGMA synchronous").get(), { synchronous: integer });
    assert(synchronous === 2, "the log is opened with synchronous=FULL");
    return work(db, readHead(db, path));
  } catch (error) {
    db?.close();
    if (error instanceof UserError || isDiskFull(error)) throw error;
    if (isOfAccess(error)) throw Object.assign(error as Error, { path }); // the file may be sound
    throw damaged(path, errorMessage(error), error);
  }
}

/** Primary result codes: PERM, BUSY, LOCKED, NOMEM, READONLY, IOERR, CANTOPEN, AUTH. https://www.sqlite.org/rescode.html */
const OF_ACCESS = [3, 5, 6, 7, 8, 10, 14, 23];

/** The log cannot be opened or read now; nothing is known of its content. */
function isOfAccess(error: unknown): boolean {
  const { errno, name } = error as { errno?: number; name?: string };
  return (
    name === "SQLiteError" && errno !== undefined && OF_ACCESS.includes(errno & 0xff) && !isDamage(error)
  );
}

function readHead(db: Database, path: string): LogHead {
  const value = (cell: unknown): unknown => cell;
  const meta = new Map(readTuples(db.prepare("SELECT name, value FROM meta").values(), text, value));
  const format = Number(meta.get("format"));
  if (format > FORMATS.log.max) throw newerFormat(path, "log", format);
  if (!(format >= FORMATS.log.min))
    throw damaged(path, `its format is ${format}, and this build reads format ${showRange(FORMATS.log)}`);
  const identity = { clusterId: String(meta.get("cluster_id")), peerId: String(meta.get("peer_id")) };
  const member = Number(meta.get("member") ?? 0);
  const rows = db.prepare("SELECT compacted_index, last_index FROM grp ORDER BY shard").values();
  const groups = readTuples(rows, integer, integer).map(([compactedIndex, lastIndex]) => ({
    compactedIndex,
    lastIndex,
  }));
  const supersededBy = JSON.parse(String(meta.get(SUPERSEDED) ?? "[]")) as Epoch[];
  return { identity, member, groups, supersededBy, incarnation: Number(meta.get("incarnation")) };
}

/** Throws as `SqliteLogStore.open` does, except for damaged entries. */
export function readLogHead(path: string): LogHead {
  return openLog(path, (db, head) => {
    db.close();
    return head;
  });
}

/** The newest configuration of group 0 that this node applied, and its own id in it. */
export function readMembership(path: string): { readonly self: MemberId; readonly at: GroupConfiguration } {
  return openLog(path, (db, { identity, member }) => {
    const rows = db
      .prepare("SELECT data FROM configuration WHERE shard = 0 ORDER BY idx DESC LIMIT 1")
      .values();
    const [[data]] = readTuples(rows, blob) as [[Uint8Array]];
    db.close();
    const at = decodeConfiguration(data);
    return { self: member === 0 ? memberOf(at, identity.peerId) : member, at };
  });
}

/** This node in the newest configuration that it applied and that has it; null: none of those that are kept. */
export function readFormerMember(path: string): (MemberInfo & { readonly isVoter: boolean }) | null {
  return openLog(path, (db, { identity }) => {
    const rows = db.prepare("SELECT data FROM configuration WHERE shard = 0 ORDER BY idx DESC").values();
    db.close();
    for (const [data] of readTuples(rows, blob)) {
      const { members, configuration } = decodeConfiguration(data);
      const own = members.find((m) => m.peerId === identity.peerId);
      if (own !== undefined) return { ...own, isVoter: configuration.voters.includes(own.id) };
    }
    return null;
  });
}

/** The cluster has no other member. False also for a log that cannot be read. For hints. */
export function isAlone(path: string): boolean {
  try {
    return readMembership(path).at.members.length === 1;
  } catch {
    return false;
  }
}

/** Grows the WAL to this many pages, so that a later sync overwrites blocks that exist. */
export function fillWal(db: Database, path: string, pages: number): void {
  const { size } = statSync(`${path}-wal`, { throwIfNoEntry: false }) ?? { size: 0 };
  if (size >= pages * WAL_PAGE_BYTES) return;
  db.exec("PRAGMA wal_autocheckpoint = 0; BEGIN; CREATE TABLE filler(data BLOB)");
  const fill = db.prepare("INSERT INTO filler VALUES(?)");
  const row = new Uint8Array(FILLER_BYTES);
  for (let i = 0; i < pages; i++) fill.run(row);
  fill.finalize();
  db.exec("DROP TABLE filler; COMMIT");
  db.prepare("PRAGMA wal_checkpoint(RESTART)").all();
  db.exec(`PRAGMA wal_autocheckpoint = ${pages}`);
}
