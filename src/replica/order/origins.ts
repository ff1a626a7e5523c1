/** The last changeset taken from each origin in each shard, and how far its change logs are ordered. Replicated state. */
import type { DatabaseSync, StatementSync } from "node:sqlite";
import type { Watermark } from "../../change/batch.ts";
import { NO_MEMORY, type OriginMemory } from "./accept-batch.ts";
import { peerHash } from "../store/tables.ts";

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
    const rows = (sql: string): unknown[][] => {
      const statement = db.prepare(sql);
      statement.setReturnArrays(true);
      return statement.all() as unknown as unknown[][];
    };
    const staged = new Map<string, number>();
    for (const [peer, shard, incarnation, csn, parts] of rows(
      `SELECT "peer", "shard", "incarnation", "csn", count(*) FROM "__marmot__staged" GROUP BY 1, 2, 3, 4`,
    ) as [string, number, number, number, number][])
      staged.set(`${shard}/${peer}/${incarnation}/${csn}`, parts);
    for (const [peer, shard, incarnation, csn, ended] of rows(`SELECT * FROM "__marmot__origin"`) as [
      string,
      number,
      number,
      number,
      number,
    ][]) {
      let stagedParts = 0;
      for (const [name, parts] of staged)
        if (name.startsWith(`${shard}/${peer}/${incarnation}/`)) stagedParts = parts;
      this.#memory.set(`${shard}/${peer}`, { incarnation, csn, ended: ended === 1, stagedParts });
    }
    for (const [peer, shard, table, upTo] of rows(`SELECT * FROM "__marmot__watermark"`) as [
      string,
      number,
      number,
      number,
    ][])
      this.#watermarksOf(peer, shard).set(table, upTo);
    for (const [hash, peer] of rows(`SELECT * FROM "__marmot__peer"`) as [number, string][])
      this.#peers.set(hash, peer);
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
