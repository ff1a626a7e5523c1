/**
 * Records the entries that the replica applies. Its transaction is committed just before that of the replica. A failure, a full disk for
 * example, ends the recording and never the node: the history begins again at the next start.
 */
import type { DatabaseSync, StatementSync } from "node:sqlite";
import { showPosition } from "../../base/text/position-token.ts";
import type { TableShape } from "../../change/shape.ts";
import type { Image } from "../../change/value.ts";
import { integer, readTuple, readTuples } from "../../sqlite/typed-rows.ts";
import { readReach } from "./history-tables.ts";
import { meetReplica, REMOVED_UP_TO } from "./meet-replica.ts";
import { PartWriter, type RecordedConflict } from "./record.ts";
import { type HistoryLog, SharedEntries } from "./shared-entries.ts";
import type { EntrySource } from "./shared-values.ts";

/** Bytes of rows after which a part of an entry is stored: a changeset of any size needs little memory. */
const PART_BYTES = 256 << 10;
/** Entries looked at when the oldest ones are removed. */
const TRIM_AT_ONCE = 500;

interface Place {
  readonly shard: number;
  readonly index: number;
  /** `peerHash` of the origin. */
  readonly origin: number;
  readonly time: number;
}

export interface HistoryOptions {
  /** Bytes of entries that are kept. */
  readonly limit: number;
  /** The entries come from this log, and large values stay there. Absent: they are copied. */
  readonly log?: HistoryLog;
  readonly onFailure: (error: unknown) => void;
  /** After the replica's commit: there are new entries. */
  readonly onCommit: () => void;
}

export class HistoryWriter {
  readonly #db: DatabaseSync;
  readonly #options: HistoryOptions;
  /** The entries of the log that the history refers to. */
  readonly shared: SharedEntries;
  readonly #beginWrite: StatementSync;
  readonly #commitWrite: StatementSync;
  readonly #insert: StatementSync;
  readonly #reach: StatementSync;
  readonly #oldest: StatementSync;
  readonly #remove: StatementSync;
  readonly #forget: StatementSync;
  readonly #shape: StatementSync;
  readonly #from: number[];
  /** Per shard, the stored reach. */
  readonly #stored: string[] = [];
  #bytes: number;
  #version = 0;
  #place: Place | null = null;
  readonly #part = new PartWriter();
  /** Of the part, with values that stay in the log: parts are the same where an archive is applied again, and small for readers. */
  #imageBytes = 0;
  #conflicts: RecordedConflict[] = [];
  #schema: Uint8Array | null = null;
  #hasParts = false;
  /** The id of the newest entry, or of its first part. */
  #newest = 0;
  #added = false;
  #committed = false;
  #failed = false;

  /** `positions`: those of the replica. The caller closes `db`. */
  constructor(db: DatabaseSync, positions: readonly number[], options: HistoryOptions) {
    this.#db = db;
    this.#options = options;
    meetReplica(db, positions);
    this.shared = new SharedEntries(db, options.log ?? null);
    this.#from = [...readReach(db).from];
    this.#beginWrite = db.prepare("BEGIN IMMEDIATE");
    this.#commitWrite = db.prepare("COMMIT");
    this.#insert = db.prepare(
      `INSERT INTO "entry"("shard", "idx", "last", "time", "origin", "version", "position", "data", "referred") VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    );
    this.#reach = db.prepare(`UPDATE "reach" SET "from_idx" = ?, "to_idx" = ? WHERE "shard" = ?`);
    this.#oldest = db.prepare(
      `SELECT "id", "shard", "idx", "last", "time", length("data") + "referred" FROM "entry" ORDER BY "id" LIMIT ${TRIM_AT_ONCE}`,
    );
    this.#oldest.setReturnArrays(true);
    this.#forget = db.prepare(REMOVED_UP_TO);
    this.#remove = db.prepare(`DELETE FROM "entry" WHERE "id" <= ?`);
    this.#shape = db.prepare(`INSERT OR IGNORE INTO "shape" VALUES(?, ?, ?, ?, ?)`);
    const size = db.prepare(`SELECT coalesce(sum(length("data") + "referred"), 0) FROM "entry"`);
    size.setReturnArrays(true);
    this.#bytes = readTuple(size.get(), integer)[0];
  }

  /** Entries are recorded. */
  get isRecording(): boolean {
    return !this.#failed;
  }

  /** Nothing is recorded from now on. */
  stop(reason: Error): void {
    this.#try(() => {
      throw reason;
    });
  }

  /** The schema under which the following rows are. */
  useSchema(version: number, shapes: Iterable<TableShape>): void {
    if (version === this.#version) return;
    this.#version = version;
    this.#try(() => {
      this.#begin();
      for (const { id, name, columns, key } of shapes)
        this.#shape.run(version, id, name, JSON.stringify(columns.map((c) => c.name)), JSON.stringify(key));
    });
  }

  /** An entry is applied from now on. */
  begin(place: Place): void {
    this.#place = place;
  }

  /** Rows of this entry of the log follow; null: of one that may not be there. */
  from(source: EntrySource | null): void {
    this.shared.from(source);
  }

  /** A row of the entry with its encoded images, which need not outlive the call. `image`: the later one. */
  row(table: number, before: Uint8Array | null, after: Uint8Array | null, image: Image | null = null): void {
    if ((before === null && after === null) || !this.beginRow(table)) return;
    this.image(before);
    this.image(after, image);
  }

  /** True: calls of `image` follow, for the row before and after. */
  beginRow(table: number): boolean {
    if (this.#place === null || this.#failed) return false;
    if (this.#imageBytes > PART_BYTES) this.#store(0, "");
    this.#part.row(table);
    return true;
  }

  /** null: there is no row. `image`: what is encoded; null: it is not from the entry. */
  image(encoded: Uint8Array | null, image: Image | null = null): void {
    this.#imageBytes += encoded?.length ?? 0;
    const pieces = encoded === null || image === null ? null : this.shared.piecesOf(encoded, image);
    if (pieces === null) this.#part.image(encoded);
    else this.#part.pieces(pieces);
  }

  conflict(conflict: RecordedConflict): void {
    if (this.#place !== null && !this.#failed) this.#conflicts.push(conflict);
  }

  schema(bytes: Uint8Array): void {
    this.#schema = bytes;
  }

  /** The entry is applied, and the replica is at these positions. */
  end(positions: readonly number[]): void {
    if (this.#place === null) return;
    if (this.#hasParts || this.#part.rows + this.#conflicts.length > 0 || this.#schema !== null)
      this.#store(1, showPosition(positions));
    this.#place = null;
    this.#hasParts = false;
    this.shared.from(null);
  }

  #store(last: 0 | 1, position: string): void {
    const { shard, index, time, origin } = this.#place!;
    const data = this.#part.finish(this.#conflicts, this.#schema);
    this.#conflicts = [];
    this.#schema = null;
    const isFirst = !this.#hasParts;
    this.#hasParts = true;
    this.#added = true;
    this.#try(() => {
      this.#begin();
      const referred = this.shared.bytes;
      this.#bytes += data.length + referred;
      const id = this.#insert.run(
        shard,
        index,
        last,
        time,
        origin,
        this.#version,
        position,
        data,
        referred,
      ).lastInsertRowid;
      this.shared.store(Number(id));
      if (isFirst) this.#newest = Number(id);
    });
    this.#part.clear();
    this.#imageBytes = 0;
  }

  /** Before the replica's commit at these positions. */
  commit(positions: readonly number[]): void {
    this.#try(() => {
      this.#begin();
      if (this.#bytes > this.#options.limit) this.#trim();
      positions.forEach((index, shard) => {
        const from = this.#from[shard] ?? 0;
        const reach = `${from}/${index}`;
        if (this.#stored[shard] !== reach) this.#reach.run(from, index, shard);
        this.#stored[shard] = reach;
      });
      this.#commitWrite.run();
    });
    this.#committed = this.#added;
    this.#added = false;
  }

  /** After it. */
  committed(): void {
    if (!this.#failed) this.shared.committed();
    if (!this.#committed || this.#failed) return;
    this.#committed = false;
    this.#options.onCommit();
  }

  /** Removes whole entries, the oldest first. The newest one stays, whatever its size is, until there is another one. */
  #trim(): void {
    let over = this.#bytes - this.#options.limit;
    let upTo = 0;
    let freed = 0;
    let newest = 0;
    for (const [id, shard, index, last, time, size] of readTuples(
      this.#oldest.all(),
      ...([integer, integer, integer, integer, integer, integer] as const),
    )) {
      if (id >= this.#newest) break;
      over -= size;
      this.#bytes -= size;
      freed += size;
      newest = Math.max(newest, time);
      this.#from[shard] = Math.max(this.#from[shard] ?? 0, index);
      if (last === 1) {
        upTo = id;
        freed = 0;
        if (over <= 0) break;
      }
    }
    // Parts of an entry whose last part is not among these stay.
    this.#bytes += freed;
    if (upTo === 0) return;
    this.#remove.run(upTo);
    this.shared.trim(upTo);
    this.#forget.run(newest);
  }

  #begin(): void {
    if (!this.#db.isTransaction) this.#beginWrite.run();
  }

  #try(work: () => void): void {
    if (this.#failed) return;
    try {
      work();
    } catch (error) {
      this.#failed = true;
      this.#part.clear();
      this.#imageBytes = 0;
      this.#conflicts = [];
      try {
        if (this.#db.isTransaction) this.#db.exec("ROLLBACK");
      } catch {
        // a full disk rolls back by itself
      }
      this.#options.onFailure(error);
    }
  }
}
