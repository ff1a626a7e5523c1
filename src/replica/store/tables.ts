/**
 * Marmot's own tables in the replica, beside those of the application. `REPLICATED_TABLES` are replicated state: equal
 * on all nodes at equal positions. `LOCAL_TABLES` belong to one node; the receiver of a snapshot empties them.
 *
 * Columns that occur in many tables: `tbl` is a `TableShape.id`; `key` is a `KeyId` (small integers stay integers, tagged
 * text stays text); `shard` and `idx` are a shard and a log index in it; `origin` is the `peerHash` of a node.
 */
import type { DatabaseSync } from "node:sqlite";

/**
 * Version that a new replica gets. An older replica gets the missing tables and columns when it is opened. Format 2 added the settings `merge`, `foreign_keys` and `id_block`, the position of a conflict's losing
 * row, and dangling references. Format 3 added creation positions of rows without a declared key, and schema changes.
 */
export const REPLICA_FORMAT = 3;

export const REPLICATED_TABLES = {
  /**
   * The settings of the cluster; see `ReplicaSettings`.
   * - `name`: for example `format`, `cluster_id`, `shards`, `transactions`, `schema_version`, `encoding`.
   * - `value`: an integer, a text, or JSON.
   */
  setting: `CREATE TABLE "__marmot__setting"("name" TEXT PRIMARY KEY, "value") WITHOUT ROWID`,
  /**
   * The application's schema, verbatim, so that an app database built from the replica has the same `sqlite_schema`.
   * Indexes without a constraint exist in the replica only as text here.
   * - `id`: the order of creation.
   * - `kind`, `name`, `tbl_name`, `sql`: as in `sqlite_schema`.
   * - `table_id`: `TableShape.id` of a replicated table; NULL for every other object.
   */
  object: `CREATE TABLE "__marmot__object"("id" INTEGER PRIMARY KEY, "kind" TEXT, "name" TEXT, "tbl_name" TEXT, "sql" TEXT, "table_id" INTEGER)`,
  /**
   * The schema changes of the cluster, from version 2 on.
   * - `version`: the schema version after the change.
   * - `peer`: the node that made the change.
   * - `entry`: the encoded change; see `schema/diff/schema-entry.ts`.
   */
  schema: `CREATE TABLE "__marmot__schema"("version" INTEGER PRIMARY KEY, "peer" TEXT, "entry" BLOB)`,
  /**
   * The newest schema version at which rows of a table changed their shape or their shard. Kept for dropped tables.
   * - `tbl`: the table.
   * - `version`: that schema version.
   */
  tableVersion: `CREATE TABLE "__marmot__table_version"("tbl" INTEGER PRIMARY KEY, "version" INTEGER)`,
  /**
   * The applied position of each shard, written in the transaction of the rows.
   * - `shard`: the shard.
   * - `idx`, `term`: Raft index and term of the last applied entry.
   */
  position: `CREATE TABLE "__marmot__position"("shard" INTEGER PRIMARY KEY, "idx" INTEGER, "term" INTEGER)`,
  /**
   * The last changeset taken from each origin in each shard.
   * - `peer`, `shard`: the origin and the shard.
   * - `incarnation`, `csn`: incarnation and sequence number of that changeset.
   * - `ended`: 1 when a batch of the incarnation was refused, so that no more of it is taken.
   */
  origin: `CREATE TABLE "__marmot__origin"("peer" TEXT, "shard" INTEGER, "incarnation" INTEGER, "csn" INTEGER, "ended" INTEGER, PRIMARY KEY("peer", "shard")) WITHOUT ROWID`,
  /**
   * How far the change logs of an origin are ordered.
   * - `peer`: the origin.
   * - `shard`: the shard of the rows; always 0 where transactions are whole, as one value then covers all shards.
   * - `tbl`: the table of the change log.
   * - `up_to`: the change-log id up to which the rows are ordered.
   */
  watermark: `CREATE TABLE "__marmot__watermark"("peer" TEXT, "shard" INTEGER, "tbl" INTEGER, "up_to" INTEGER, PRIMARY KEY("peer", "shard", "tbl")) WITHOUT ROWID`,
  /**
   * The last write of every key since the replica was created. Kept for deleted and evicted keys too.
   * - `tbl`, `key`: the row.
   * - `shard`, `idx`: the position of the write.
   * - `origin`: the writer; 0 for a write of the reference resolver.
   */
  key: `CREATE TABLE "__marmot__key"("tbl" INTEGER, "key" INTEGER, "shard" INTEGER, "idx" INTEGER, "origin" INTEGER, PRIMARY KEY("tbl", "key")) WITHOUT ROWID`,
  /** Finds the keys written after a position. */
  keyPosition: `CREATE INDEX "__marmot__key_position" ON "__marmot__key"("shard", "idx")`,
  /**
   * A checksum per table and shard.
   * - `tbl`, `shard`: the table, and the shard that its rows are routed to.
   * - `sum`: sum of the row hashes modulo 2^64, as a signed integer.
   */
  checksum: `CREATE TABLE "__marmot__checksum"("tbl" INTEGER, "shard" INTEGER, "sum" INTEGER, PRIMARY KEY("tbl", "shard")) WITHOUT ROWID`,
  /**
   * The conflict journal; see `Journal`.
   * - `shard`, `idx`: the entry that caused the conflict.
   * - `ordinal`: counts the conflicts of one entry from 0.
   * - `tbl`, `key`: the row; `tbl` is 0 when the row belongs to no table of the replica.
   * - `kind`: a `ConflictKind`.
   * - `losing_origin`, `losing_image`: writer and image of the losing row; a NULL image is a delete.
   * - `winning_origin`, `winning_image`: the same of the winning row.
   * - `time`: wall-clock milliseconds of the winning changeset.
   * - `losing_shard`, `losing_idx`: position of the losing write; NULL if unknown and in entries of format 1.
   * - `note`: a `ConflictNote` as JSON, for a row that belongs to no table of the replica; else NULL.
   */
  conflict: `CREATE TABLE "__marmot__conflict"("shard" INTEGER, "idx" INTEGER, "ordinal" INTEGER, "tbl" INTEGER, "key" INTEGER, "kind" TEXT, "losing_origin" INTEGER, "losing_image" BLOB, "winning_origin" INTEGER, "winning_image" BLOB, "time" INTEGER, "losing_shard" INTEGER, "losing_idx" INTEGER, "note" TEXT, PRIMARY KEY("shard", "idx", "ordinal")) WITHOUT ROWID`,
  /**
   * Entries of the journal that are no longer open; see `ConflictStates`.
   * - `shard`, `idx`, `ordinal`: the conflict in the journal.
   * - `state`: `restored` or `dismissed`.
   * - `origin`: the node on which that was done.
   * - `time`: wall-clock milliseconds.
   */
  conflictState: `CREATE TABLE "__marmot__conflict_state"("shard" INTEGER, "idx" INTEGER, "ordinal" INTEGER, "state" TEXT, "origin" INTEGER, "time" INTEGER, PRIMARY KEY("shard", "idx", "ordinal")) WITHOUT ROWID`,
  /**
   * Last write per column, for tables that merge updates by column; see `ColumnPositions`.
   * - `tbl`, `key`: the row.
   * - `writes`: the last write of the whole row and of single columns, as JSON.
   */
  column: `CREATE TABLE "__marmot__column"("tbl" INTEGER, "key" INTEGER, "writes" TEXT, PRIMARY KEY("tbl", "key")) WITHOUT ROWID`,
  /**
   * Dangling references caused by concurrent writes; see `DanglingReferences`.
   * - `tbl`, `key`: the child row.
   * - `number`: place of the foreign key among those of its table.
   */
  orphan: `CREATE TABLE "__marmot__orphan"("tbl" INTEGER, "key" INTEGER, "number" INTEGER, PRIMARY KEY("tbl", "key", "number")) WITHOUT ROWID`,
  /**
   * Reference positions of rows that were written again later without a change of the reference; see `ReferencePositions`.
   * - `tbl`, `key`: the child row.
   * - `number`: place of the foreign key among those of its table.
   * - `shard`, `idx`, `origin`: position and writer of the reference.
   */
  attached: `CREATE TABLE "__marmot__attached"("tbl" INTEGER, "key" INTEGER, "number" INTEGER, "shard" INTEGER, "idx" INTEGER, "origin" INTEGER, PRIMARY KEY("tbl", "key", "number")) WITHOUT ROWID`,
  /**
   * Children of a losing row that were written after the conflict; see `LosersChildren`.
   * - `tbl`, `key`: the child row.
   * - `shard`, `idx`, `ordinal`: the conflict in the journal.
   */
  stray: `CREATE TABLE "__marmot__stray"("tbl" INTEGER, "key" INTEGER, "shard" INTEGER, "idx" INTEGER, "ordinal" INTEGER, PRIMARY KEY("tbl", "key", "shard", "idx", "ordinal")) WITHOUT ROWID`,
  /**
   * Creation positions of rows without a declared key; see `RowidCollisions`. No record: the row is older than the
   * replica. Kept for deleted rows.
   * - `tbl`, `key`: the row.
   * - `shard`, `idx`, `origin`: position and writer of its insert.
   */
  birth: `CREATE TABLE "__marmot__birth"("tbl" INTEGER, "key" INTEGER, "shard" INTEGER, "idx" INTEGER, "origin" INTEGER, PRIMARY KEY("tbl", "key")) WITHOUT ROWID`,
  /**
   * The highest rowid ever used, for tables without a declared key.
   * - `tbl`: the table.
   * - `highest`: that rowid.
   */
  rowid: `CREATE TABLE "__marmot__rowid"("tbl" INTEGER PRIMARY KEY, "highest" INTEGER)`,
  /**
   * Redirected rowids, until the origin's app database is known to have them.
   * - `origin`: the writer of the row.
   * - `shard`, `idx`: position of the changeset.
   * - `tbl`: the table.
   * - `from_rowid`: the rowid that the origin gave.
   * - `to_rowid`: the rowid in the replica.
   */
  moved: `CREATE TABLE "__marmot__moved"("origin" INTEGER, "shard" INTEGER, "idx" INTEGER, "tbl" INTEGER, "from_rowid" INTEGER, "to_rowid" INTEGER, PRIMARY KEY("origin", "shard", "idx", "tbl", "from_rowid")) WITHOUT ROWID`,
  /**
   * Parts of a changeset that wait for its last part.
   * - `peer`, `shard`, `incarnation`, `csn`: the changeset.
   * - `part`: number of the part, from 1.
   * - `data`: the data of the log entry.
   */
  staged: `CREATE TABLE "__marmot__staged"("peer" TEXT, "shard" INTEGER, "incarnation" INTEGER, "csn" INTEGER, "part" INTEGER, "data" BLOB, PRIMARY KEY("peer", "shard", "incarnation", "csn", "part")) WITHOUT ROWID`,
  /**
   * Checksums recorded at check entries. Only the newest are kept.
   * - `note`: name of the check.
   * - `shard`, `idx`: position of the check entry.
   * - `sums`: JSON list of [table, sum in decimal digits].
   */
  checkpoint: `CREATE TABLE "__marmot__check"("note" TEXT, "shard" INTEGER, "idx" INTEGER, "sums" TEXT, PRIMARY KEY("note", "shard")) WITHOUT ROWID`,
  /**
   * Peer ids by hash.
   * - `hash`: the `peerHash`.
   * - `peer`: the peer id.
   */
  peer: `CREATE TABLE "__marmot__peer"("hash" INTEGER PRIMARY KEY, "peer" TEXT)`,
} as const;

export const LOCAL_TABLES = {
  /**
   * Losing rows that this node restored under a new key, so that none is restored twice; see `RestoredHere`.
   * - `shard`, `idx`, `ordinal`: the conflict in the journal.
   * - `tbl`, `key`: the restored row.
   */
  restored: `CREATE TABLE "__marmot__local_restored"("shard" INTEGER, "idx" INTEGER, "ordinal" INTEGER, "tbl" INTEGER, "key" INTEGER, PRIMARY KEY("shard", "idx", "ordinal")) WITHOUT ROWID`,
  /**
   * Facts of the node that owns this replica.
   * - `name`: for example `peer_id` or `configurations`.
   * - `value`: a text.
   */
  node: `CREATE TABLE "__marmot__local_node"("name" TEXT PRIMARY KEY, "value") WITHOUT ROWID`,
  /**
   * Before images of rows that other nodes changed, until the app database has the change and is synced; see `BeforeImages`.
   * - `id`: the order in which the changes were applied.
   * - `tbl`, `key`: the row.
   * - `shard`, `idx`: position of the change.
   * - `image`: the encoded row before the change; NULL: there was no row.
   */
  reference: `CREATE TABLE "__marmot__local_reference"("id" INTEGER PRIMARY KEY, "tbl" INTEGER, "key" INTEGER, "shard" INTEGER, "idx" INTEGER, "image" BLOB)`,
} as const;

/** 48 bits of xxh64 of the peer id: a safe integer in JavaScript and in SQLite. */
export const peerHash = (peer: string): number => Number(Bun.hash.xxHash64(peer, 0n) & 0xffff_ffff_ffffn);

/** Creates the tables and columns that a replica of an older format lacks. Its setting `format` does not change. */
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
