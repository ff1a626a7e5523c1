/**
 * Marmot's own tables in the replica (S), beside the application's. The first group is replicated state: equal on all
 * nodes at equal positions. The second is this node's bookkeeping; a snapshot's receiver strips it.
 */
import type { DatabaseSync } from "node:sqlite";

/**
 * Version of everything in the replica. A newer one is refused. 2: the settings `merge`, `foreign_keys` and `id_block`,
 * where a conflict's loser stood, dangling references. 3: births of rows without a declared key, changes of the schema. An
 * older replica gets what it lacks when it is opened.
 */
export const REPLICA_FORMAT = 3;
export const OLDEST_REPLICA_FORMAT = 1;

export const REPLICATED_TABLES = {
  /** The cluster's record: `format`, `cluster_id`, `shards`, `transactions`, `schema_version`, `encoding`, `excluded`, … */
  setting: `CREATE TABLE "__marmot__setting"("name" TEXT PRIMARY KEY, "value") WITHOUT ROWID`,
  /**
   * The application's schema in creation order, verbatim, so that a file built from here has the same `sqlite_schema`.
   * `table_id`: `TableShape.id` for replicated tables, else NULL. Indexes that constrain nothing exist here only as text.
   */
  object: `CREATE TABLE "__marmot__object"("id" INTEGER PRIMARY KEY, "kind" TEXT, "name" TEXT, "tbl_name" TEXT, "sql" TEXT, "table_id" INTEGER)`,
  /** The changes that led to each version of the schema, from the second on, and who made them: see `schema/diff/schema-entry.ts`. */
  schema: `CREATE TABLE "__marmot__schema"("version" INTEGER PRIMARY KEY, "peer" TEXT, "entry" BLOB)`,
  /** At which version of the schema a table's rows were last another thing, or lay in another shard. Kept for dropped tables. */
  tableVersion: `CREATE TABLE "__marmot__table_version"("tbl" INTEGER PRIMARY KEY, "version" INTEGER)`,
  /** How far each shard's log is applied: Raft's applied index, in the transaction of the rows. */
  position: `CREATE TABLE "__marmot__position"("shard" INTEGER PRIMARY KEY, "idx" INTEGER, "term" INTEGER)`,
  /** What was last taken from each origin in each shard. `ended`: a batch of the incarnation was refused. */
  origin: `CREATE TABLE "__marmot__origin"("peer" TEXT, "shard" INTEGER, "incarnation" INTEGER, "csn" INTEGER, "ended" INTEGER, PRIMARY KEY("peer", "shard")) WITHOUT ROWID`,
  /** Change-log ids of an origin up to which its rows of a shard are ordered; where transactions are whole, all its rows, under shard 0. */
  watermark: `CREATE TABLE "__marmot__watermark"("peer" TEXT, "shard" INTEGER, "tbl" INTEGER, "up_to" INTEGER, PRIMARY KEY("peer", "shard", "tbl")) WITHOUT ROWID`,
  /**
   * The last position of each key that was written since the replica's beginning or the horizon, kept for deleted and
   * evicted keys, too. `key` is a `KeyId`: small integers stay integers, tagged text stays text. `origin`: 48 bits of the peer id's hash.
   */
  key: `CREATE TABLE "__marmot__key"("tbl" INTEGER, "key" INTEGER, "shard" INTEGER, "idx" INTEGER, "origin" INTEGER, PRIMARY KEY("tbl", "key")) WITHOUT ROWID`,
  keyPosition: `CREATE INDEX "__marmot__key_position" ON "__marmot__key"("shard", "idx")`,
  /** Sum of the row hashes of a table's rows that are routed to a shard, modulo 2^64, as a signed integer. */
  checksum: `CREATE TABLE "__marmot__checksum"("tbl" INTEGER, "shard" INTEGER, "sum" INTEGER, PRIMARY KEY("tbl", "shard")) WITHOUT ROWID`,
  /**
   * The conflict journal: what lost, to what, where in the order. `ordinal` counts within an entry. NULL image: a delete.
   * `losing_shard`, `losing_idx`: where the loser stood, NULL for entries of format 1. `note`: of a row of a
   * table that is not the replica's what it was, as JSON; see `ConflictNote`.
   */
  conflict: `CREATE TABLE "__marmot__conflict"("shard" INTEGER, "idx" INTEGER, "ordinal" INTEGER, "tbl" INTEGER, "key" INTEGER, "kind" TEXT, "losing_origin" INTEGER, "losing_image" BLOB, "winning_origin" INTEGER, "winning_image" BLOB, "time" INTEGER, "losing_shard" INTEGER, "losing_idx" INTEGER, "note" TEXT, PRIMARY KEY("shard", "idx", "ordinal")) WITHOUT ROWID`,
  /** Of tables whose updates are merged by column: where a row's columns were last written; see `ColumnWrites`. */
  column: `CREATE TABLE "__marmot__column"("tbl" INTEGER, "key" INTEGER, "writes" TEXT, PRIMARY KEY("tbl", "key")) WITHOUT ROWID`,
  /** References that concurrent writes left dangling, by row and place among its table's foreign keys; see `Orphans`. */
  orphan: `CREATE TABLE "__marmot__orphan"("tbl" INTEGER, "key" INTEGER, "number" INTEGER, PRIMARY KEY("tbl", "key", "number")) WITHOUT ROWID`,
  /** Where a row's reference was written, for rows that were written later without changing it. */
  attached: `CREATE TABLE "__marmot__attached"("tbl" INTEGER, "key" INTEGER, "number" INTEGER, "shard" INTEGER, "idx" INTEGER, "origin" INTEGER, PRIMARY KEY("tbl", "key", "number")) WITHOUT ROWID`,
  /** Rows that belong to a conflict's loser though they stand after it; see `Strays`. */
  stray: `CREATE TABLE "__marmot__stray"("tbl" INTEGER, "key" INTEGER, "shard" INTEGER, "idx" INTEGER, "ordinal" INTEGER, PRIMARY KEY("tbl", "key", "shard", "idx", "ordinal")) WITHOUT ROWID`,
  /**
   * Of tables without a declared key: where the row under a rowid came into being, and whose it was; see `Births`. No
   * record: before the replica's beginning. Kept for rows that are gone.
   */
  birth: `CREATE TABLE "__marmot__birth"("tbl" INTEGER, "key" INTEGER, "shard" INTEGER, "idx" INTEGER, "origin" INTEGER, PRIMARY KEY("tbl", "key")) WITHOUT ROWID`,
  /** … and the highest rowid that any row of the table ever had. */
  rowid: `CREATE TABLE "__marmot__rowid"("tbl" INTEGER PRIMARY KEY, "highest" INTEGER)`,
  /** … and rows that went in under another rowid than their origin gave them, until it is known to show that. */
  moved: `CREATE TABLE "__marmot__moved"("origin" INTEGER, "shard" INTEGER, "idx" INTEGER, "tbl" INTEGER, "from_rowid" INTEGER, "to_rowid" INTEGER, PRIMARY KEY("origin", "shard", "idx", "tbl", "from_rowid")) WITHOUT ROWID`,
  /** Parts of changesets whose last part has not come yet. */
  staged: `CREATE TABLE "__marmot__staged"("peer" TEXT, "shard" INTEGER, "incarnation" INTEGER, "csn" INTEGER, "part" INTEGER, "data" BLOB, PRIMARY KEY("peer", "shard", "incarnation", "csn", "part")) WITHOUT ROWID`,
  /** Checksums recorded at check entries: `sums` is an encoded list of [table, sum]. Only the newest are kept. */
  checkpoint: `CREATE TABLE "__marmot__check"("note" TEXT, "shard" INTEGER, "idx" INTEGER, "sums" TEXT, PRIMARY KEY("note", "shard")) WITHOUT ROWID`,
  /** Peers by the hash that stands for them. */
  peer: `CREATE TABLE "__marmot__peer"("hash" INTEGER PRIMARY KEY, "peer" TEXT)`,
} as const;

export const LOCAL_TABLES = {
  /** Conflicts whose losing row was put back under a fresh key by this node, so that it is not done twice. `key`: a `KeyId`. */
  restored: `CREATE TABLE "__marmot__local_restored"("shard" INTEGER, "idx" INTEGER, "ordinal" INTEGER, "tbl" INTEGER, "key" INTEGER, PRIMARY KEY("shard", "idx", "ordinal")) WITHOUT ROWID`,
  /** `peer_id` of the node whose replica this is. */
  node: `CREATE TABLE "__marmot__local_node"("name" TEXT PRIMARY KEY, "value") WITHOUT ROWID`,
  /**
   * What a row was before another node's change at (shard, idx), NULL if it was not there: the reference that a drain
   * compares with, until the live file shows that change and is synced.
   */
  reference: `CREATE TABLE "__marmot__local_reference"("id" INTEGER PRIMARY KEY, "tbl" INTEGER, "key" INTEGER, "shard" INTEGER, "idx" INTEGER, "image" BLOB)`,
} as const;

/** 48 bits of xxh64, so that it is a small integer everywhere. */
export const peerHash = (peer: string): number => Number(Bun.hash.xxHash64(peer, 0n) & 0xffff_ffff_ffffn);

/** Gives a replica of an older format what it lacks, on a writing connection. What it says of itself stays as it is. */
export function completeReplica(db: DatabaseSync): void {
  const found = new Set(
    db
      .prepare(`SELECT name FROM main.sqlite_schema`)
      .all()
      .map((o) => String(o.name)),
  );
  for (const create of [...Object.values(REPLICATED_TABLES), ...Object.values(LOCAL_TABLES)]) {
    const name = /"(__marmot__\w+)"/.exec(create)![1]!;
    if (!found.has(name)) db.exec(create);
  }
  const columns = db.prepare(`SELECT name FROM pragma_table_info('__marmot__conflict')`).all();
  const has = new Set(columns.map((c) => String(c.name)));
  for (const column of ["losing_shard", "losing_idx"])
    if (!has.has(column)) db.exec(`ALTER TABLE "__marmot__conflict" ADD COLUMN "${column}" INTEGER`);
  if (!has.has("note")) db.exec(`ALTER TABLE "__marmot__conflict" ADD COLUMN "note" TEXT`);
}
