/** The last changeset taken from each origin in each shard, and how far its change logs are ordered. Replicated state. */
import type { DatabaseSync, StatementSync } from "node:sqlite";
import type { Watermark } from "../../change/batch.ts";
import { prepareExact } from "../../rows/exact-values.ts";
import { NO_MEMORY, type OriginMemory } from "./accept-batch.ts";
import { peerHash } from "../store/tables.ts";
import { flag, integer, readTuples, text } from "../../sqlite/typed-rows.ts";

export class Origins {
  readonly #storeMemory: StatementSync;
  readonly #storeWatermark: StatementSync;
  readonly #storePeer: StatementSync;
  /** `${shard}/${peer}` ⇒ memory. */
  readonly #memory = new Map<string, OriginMemory>();
  /** `${shard}/${peer}` ⇒ table ⇒ id. */
  readonly #watermarks = new Map<string, Map<number, number>>();
  readonly #peers = new Map<number, string>();
  readonly #dirty = new Set<string>();

  constructor(db: DatabaseSync) {
    this.#storeMemory = db.prepare(
      `INSERT INTO "__marmot__origin" VALUES(?, ?, ?, ?, ?) ON CONFLICT("peer", "shard") DO UPDATE
         SET "incarnation" = excluded."incarnation", "csn" = excluded."csn", "ended" = excluded."ended"`,
    );
    this.#storeWatermark = db.prepare(
      `INSERT INTO "__marmot__watermark" VALUES(?, ?, ?, ?)
         ON CONFLICT("peer", "shard", "tbl") DO UPDATE SET "up_to" = excluded."up_to"`,
    );
    this.#storePeer = db.prepare(`INSERT OR IGNORE INTO "__marmot__peer" VALUES(?, ?)`);
    const rows = (sql: string): readonly unknown[] => prepareExact(db, sql).all();
    const staged = new Map<string, number>();
    const parts = rows(
      `SELECT "peer", "shard", "incarnation", "csn", count(*) FROM "__marmot__staged" GROUP BY 1, 2, 3, 4`,
    );
    for (const [peer, shard, incarnation, csn, count] of readTuples(
      parts,
      ...([text, integer, integer, integer, integer] as const),
    ))
      staged.set(`${shard}/${peer}/${incarnation}/${csn}`, count);
    const origins = rows(`SELECT "peer", "shard", "incarnation", "csn", "ended" FROM "__marmot__origin"`);
    for (const [peer, shard, incarnation, csn, ended] of readTuples(
      origins,
      ...([text, integer, integer, integer, flag] as const),
    )) {
      let stagedParts = 0;
      for (const [name, count] of staged)
        if (name.startsWith(`${shard}/${peer}/${incarnation}/`)) stagedParts = count;
      this.#memory.set(`${shard}/${peer}`, { incarnation, csn, ended, stagedParts });
    }
    const watermarks = rows(`SELECT "peer", "shard", "tbl", "up_to" FROM "__marmot__watermark"`);
    for (const [peer, shard, table, upTo] of readTuples(watermarks, text, integer, integer, integer))
      this.#watermarksOf(peer, shard).set(table, upTo);
    const peers = rows(`SELECT "hash", "peer" FROM "__marmot__peer"`);
    for (const [hash, peer] of readTuples(peers, integer, text)) this.#peers.set(hash, peer);
  }

  #watermarksOf(peer: string, shard: number): Map<number, number> {
    const name = `${shard}/${peer}`;
    let watermarks = this.#watermarks.get(name);
    if (watermarks === undefined) this.#watermarks.set(name, (watermarks = new Map<number, number>()));
    return watermarks;
  }

  memory(peer: string, shard: number): OriginMemory {
    return this.#memory.get(`${shard}/${peer}`) ?? NO_MEMORY;
  }

  remember(peer: string, shard: number, memory: OriginMemory): void {
    this.#memory.set(`${shard}/${peer}`, memory);
    this.#dirty.add(`${shard}/${peer}`);
    const hash = peerHash(peer);
    if (this.#peers.has(hash)) return;
    this.#peers.set(hash, peer);
    this.#storePeer.run(hash, peer);
  }

  /** Highest incarnation of the peer in any shard; 0: none. */
  incarnation(peer: string): number {
    let highest = 0;
    for (const [name, memory] of this.#memory)
      if (name.slice(name.indexOf("/") + 1) === peer) highest = Math.max(highest, memory.incarnation);
    return highest;
  }

  watermark(peer: string, shard: number, table: number): number {
    return this.#watermarks.get(`${shard}/${peer}`)?.get(table) ?? 0;
  }

  raise(peer: string, shard: number, watermarks: readonly Watermark[]): void {
    const mine = this.#watermarksOf(peer, shard);
    for (const { table, upTo } of watermarks) {
      if (upTo <= (mine.get(table) ?? 0)) continue;
      mine.set(table, upTo);
      this.#storeWatermark.run(peer, shard, table, upTo);
    }
  }

  /**
   * The table's rows are routed to other shards from now on: lowers its watermarks to the least of all shards. Rows that
   * are drained again are equal to the replica's rows, so they are not sent again.
   */
  levelWatermarks(table: number, shards: number): void {
    for (const [name, watermarks] of [...this.#watermarks]) {
      if (!watermarks.has(table)) continue;
      const peer = name.slice(name.indexOf("/") + 1);
      const all = Array.from({ length: shards }, (_, shard) => this.watermark(peer, shard, table));
      const least = Math.min(...all);
      for (let shard = 0; shard < shards; shard++) {
        this.#watermarksOf(peer, shard).set(table, least);
        this.#storeWatermark.run(peer, shard, table, least);
      }
    }
  }

  /** The peer of a hash; "" if no changeset of such a peer was ever taken. */
  peerOf(hash: number): string {
    return this.#peers.get(hash) ?? "";
  }

  flush(): void {
    for (const name of this.#dirty) {
      const slash = name.indexOf("/");
      const memory = this.#memory.get(name)!;
      const shard = Number(name.slice(0, slash));
      this.#storeMemory.run(
        name.slice(slash + 1),
        shard,
        memory.incarnation,
        memory.csn,
        memory.ended ? 1 : 0,
      );
    }
    this.#dirty.clear();
  }
}
