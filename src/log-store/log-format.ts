/** The format of log.db: tables, keys and checksums. */
import { UserError } from "../base/errors.ts";

/** Version that a new log.db gets. */
export const LOG_FORMAT = 1;

/** Key of an entry = shard × 2^40 + index. */
export const SHARD_SPAN = 2 ** 40;

export const TABLES = `
  CREATE TABLE IF NOT EXISTS meta(name TEXT PRIMARY KEY, value) WITHOUT ROWID;
  -- One row a group. last_index is explicit: an entry beyond it is a stale tail, whatever the table holds.
  CREATE TABLE IF NOT EXISTS grp(shard INTEGER PRIMARY KEY, term INTEGER, vote INTEGER, commit_index INTEGER,
    compacted_index INTEGER, compacted_term INTEGER, last_index INTEGER);
  -- id = shard * 2^40 + index; checksum = xxh32 over term, index, type and data.
  CREATE TABLE IF NOT EXISTS entry(id INTEGER PRIMARY KEY, term INTEGER, type INTEGER, checksum INTEGER, data BLOB);
  -- History of configurations, so that a snapshot can carry that of its position.
  CREATE TABLE IF NOT EXISTS configuration(shard INTEGER, idx INTEGER, data BLOB, PRIMARY KEY(shard, idx)) WITHOUT ROWID;
`;

export const checksum = (term: number, index: number, type: number, data: Uint8Array): number =>
  Bun.hash.xxHash32(data, Bun.hash.xxHash32(`${term}/${index}/${type}`, 0));

export const damaged = (path: string, problem: string, cause?: unknown): UserError =>
  new UserError(
    `${path} is damaged: ${problem}`,
    "stop the node, remove its data directory and let it join the cluster again; never restore an old copy of it",
    { cause },
  );
