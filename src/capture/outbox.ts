/**
 * This node's changesets on their way into the order: numbered in one chain per shard, proposed again until this node's
 * own replica has taken them, acknowledged in the order in which they were drained. Row by row, a changeset leaves as a
 * batch for each of its shards; whole, as one batch in the one lane that is in use (`chains.ts`). Nothing is forgotten here
 * that is not still in the change logs, so a restart may drop all of it.
 */
import { assert } from "../base/assert.ts";
import type { PositionVector, RowChange, Watermark } from "../change/batch.ts";
import type { KeyId } from "../change/key.ts";
import { KeyList } from "../change/key-list.ts";
import type { TableShape } from "../change/shape.ts";
import type { Image } from "../change/value.ts";
import { type ChainPlace, openingBatch, type SchemaLead } from "./batch-builder.ts";
import {
  type ChainsComponents,
  type DrainRecord,
  type Lane,
  laneInUse,
  rowChains,
  schemaChain,
  type Sent,
  wholeChain,
} from "./chains.ts";
import type { DrainSink } from "./drain.ts";
import type { Spool } from "./spool.ts";

/** Bytes proposed and not yet taken, over all shards. */
export const IN_FLIGHT_BYTES = 8 << 20;
/** Drains proposed and not yet taken. */
export const IN_FLIGHT_DRAINS = 16;
/** Above this many rows a drain's images are not remembered; nothing else is drained until it is taken. */
const REMEMBERED_ROWS = 50_000;
/**
 * A shard whose oldest batch gets no answer within this time has all of its batches proposed again; the time doubles up
 * to the limit, as long as nothing is taken: what only waits must not fill the log.
 */
const PROPOSE_AGAIN_MS = 2000;
const PROPOSE_AGAIN_MS_MAX = 16_000;

export interface OutboxComponents {
  /** "dropped": it is in no log through this call. Else it may or may not come through. */
  readonly propose: (shard: number, data: Uint8Array) => "accepted" | "forwarded" | "dropped";
  readonly shardOfKey: (table: number, keyId: KeyId) => number;
  readonly spool: Spool;
  /** Monotonic and wall clock, milliseconds. */
  readonly now: () => number;
  readonly wallTime: () => number;
}

export interface OutboxOptions {
  readonly origin: string;
  readonly shards: number;
  /** Of the schema that the application's file last reflected. */
  readonly schemaVersion: number;
  /** Changesets stay whole over several shards. */
  readonly whole: boolean;
}

/** Takes one drain: then either `done` or `giveUp` is called. */
export interface CollectingSink extends DrainSink {
  /** Rows found so far. */
  found(): number;
  /** Puts what was found in the chains. Returns how many rows. */
  done(): number;
  /** The changeset cannot leave before what is in flight was taken: forgets it. */
  giveUp(): void;
  /** Forgets it: it is drained anew. */
  discard(): void;
}

export class Outbox {
  readonly #components: OutboxComponents;
  readonly #options: OutboxOptions;
  /** What is collected from now on is of this version. */
  schemaVersion: number;
  #incarnation = 0;
  #lanes: Lane[] = [];
  #drains: DrainRecord[] = [];
  readonly #inFlight = new Map<number, Map<KeyId, { image: Image | null; drain: DrainRecord }>>();
  #bytes = 0;
  #rows = 0;
  /** A changeset was found that cannot leave before what is in flight was taken. */
  #blocked = false;
  readonly #settled = new Map<number, number>();
  /** `looked`: of one drain each. */
  #acknowledged: { upTo: Watermark[]; looked: KeyList[] } = { upTo: [], looked: [] };

  constructor(components: OutboxComponents, options: OutboxOptions) {
    this.#components = components;
    this.#options = options;
    this.schemaVersion = options.schemaVersion;
  }

  get incarnation(): number {
    return this.#incarnation;
  }

  /** Proposed or waiting for it, and not taken yet. */
  get bytesInFlight(): number {
    return this.#bytes;
  }

  get rowsInFlight(): number {
    return this.#rows;
  }

  rowsInShard(shard: number): number {
    return this.#lanes[shard]?.sent.reduce((sum, s) => sum + s.rows, 0) ?? 0;
  }

  /** Shards whose fence this node's replica has not passed. */
  fencing(): number[] {
    return this.#lanes.flatMap((lane, shard) => (lane.opened ? [] : [shard]));
  }

  /** Room for another drain. */
  get ready(): boolean {
    if (this.#lanes.length === 0 || this.#lanes.some((lane) => !lane.opened)) return false;
    if (this.#blocked || this.#drains.some((d) => d.alone)) return false;
    return this.#bytes < IN_FLIGHT_BYTES && this.#drains.length < IN_FLIGHT_DRAINS;
  }

  /** What was proposed is all taken, the fence included. */
  get settledAll(): boolean {
    return this.#lanes.length > 0 && this.#lanes.every((lane) => lane.opened && lane.sent.length === 0);
  }

  get idle(): boolean {
    return this.#drains.length === 0 && this.#acknowledged.upTo.length === 0;
  }

  /** Milliseconds since the oldest drain that is not acknowledged; 0: none. */
  oldestMs(): number {
    const oldest = this.#drains[0];
    return oldest === undefined ? 0 : Math.max(0, this.#components.now() - oldest.startedAt);
  }

  /** Starts an incarnation, whose number is synced in the log store already: everything in flight is forgotten. */
  open(incarnation: number): void {
    assert(incarnation > this.#incarnation, "incarnations rise");
    this.#incarnation = incarnation;
    this.#inFlight.clear();
    this.#drains = [];
    this.#bytes = 0;
    this.#rows = 0;
    this.#blocked = false;
    this.#components.spool.clear();
    this.#lanes = Array.from({ length: this.#options.shards }, () => ({
      csn: 1,
      sent: [],
      ordered: 0,
      patienceMs: PROPOSE_AGAIN_MS,
      opened: false,
    }));
    this.#lanes.forEach((lane) => {
      const bytes = openingBatch(this.#place(1, 0, []));
      lane.sent.push({
        csn: 1,
        part: 1,
        last: true,
        bytes,
        size: 0,
        rows: 0,
        drain: null,
        keys: null,
        proposedAt: null,
      });
    });
    this.propose();
  }

  #place(csn: number, previousCsn: number, after: PositionVector): ChainPlace {
    const { origin } = this.#options;
    const { schemaVersion } = this;
    const time = this.#components.wallTime();
    return { origin, incarnation: this.#incarnation, csn, previousCsn, schemaVersion, time, after };
  }

  /**
   * A sink for one drain that began when this node's replica stood at `after`. Nothing is proposed before `propose`.
   * `schema`: a change that leads the rows, when nothing is in flight; nothing else is collected until it is taken.
   */
  collect(
    upTo: readonly Watermark[],
    after: PositionVector,
    schema: SchemaLead | null = null,
  ): CollectingSink {
    assert(schema === null || this.settledAll, "a change of the schema leaves when nothing is in flight");
    const drain: DrainRecord = {
      upTo,
      looked: new KeyList(),
      startedAt: this.#components.now(),
      batchesLeft: 0,
      rows: 0,
      alone: schema !== null,
    };
    const images: [table: number, keyId: KeyId, image: Image | null][] = [];
    const components: ChainsComponents = {
      lanes: this.#lanes,
      place: (csn, previousCsn, at) => this.#place(csn, previousCsn, at),
      keep: (bytes) => {
        this.#bytes += bytes.length;
        return this.#components.spool.add(bytes);
      },
    };
    const chains =
      schema !== null
        ? schemaChain(components, drain, after, schema)
        : this.#options.whole
          ? wholeChain(components, drain, after)
          : rowChains(components, drain);
    return {
      inFlight: (table, keyId) => this.#inFlight.get(table)?.get(keyId)?.image,
      add: (shape: TableShape, row: Omit<RowChange, "base">, base: PositionVector) => {
        // Where a row lies under a schema that is not taken yet is known to nobody, and all goes through shard 0.
        const shard = schema === null ? this.#components.shardOfKey(shape.id, row.keyId) : 0;
        const builder = chains.builderOf(shard);
        if (builder === null) return false;
        builder.add(shape, row, base);
        drain.rows++;
        if (drain.rows > REMEMBERED_ROWS) {
          drain.alone = true;
          images.length = 0;
        } else images.push([shape.id, row.keyId, row.image]);
        return true;
      },
      looked: (table, keyId) => {
        drain.looked.add(table, keyId);
      },
      found: () => drain.rows,
      done: () => {
        for (const [table, keyId, image] of images) this.#remember(table, keyId, image, drain);
        if (drain.rows > 0 || schema !== null) chains.finish();
        this.#rows += drain.rows;
        this.#drains.push(drain);
        this.#settle();
        return drain.rows;
      },
      giveUp: () => {
        this.#bytes -= chains.size();
        this.#blocked = true;
      },
      discard: () => {
        this.#bytes -= chains.size();
      },
    };
  }

  #remember(table: number, keyId: KeyId, image: Image | null, drain: DrainRecord): void {
    let keys = this.#inFlight.get(table);
    if (keys === undefined) this.#inFlight.set(table, (keys = new Map()));
    keys.set(keyId, { image, drain });
  }

  /** Proposes what waits, in the order of each chain, as far as the bound on bytes in flight goes. */
  propose(): void {
    const now = this.#components.now();
    this.#lanes.forEach((lane, shard) => {
      let ahead = 0;
      for (const [i, sent] of lane.sent.entries()) {
        if (i >= lane.ordered && sent.proposedAt === null) {
          if (ahead > 0 && ahead + sent.size > IN_FLIGHT_BYTES) break;
          const bytes = this.#components.spool.read(sent.bytes);
          if (this.#components.propose(shard, bytes) === "dropped") break;
          sent.proposedAt = now;
        }
        ahead += sent.size;
      }
    });
  }

  /** On a timer: what was dropped or got no answer goes out again. */
  tick(): void {
    const now = this.#components.now();
    for (const lane of this.#lanes) {
      const at = lane.sent[lane.ordered]?.proposedAt ?? null;
      if (at === null || now - at <= lane.patienceMs) continue;
      lane.patienceMs = Math.min(2 * lane.patienceMs, PROPOSE_AGAIN_MS_MAX);
      for (const sent of lane.sent.slice(lane.ordered)) sent.proposedAt = null;
    }
    this.propose();
  }

  /** The shard has a new leader: what was proposed to the old one may be lost. */
  leaderChanged(shard: number): void {
    const lane = this.#lanes[shard];
    for (const sent of lane?.sent.slice(lane.ordered) ?? []) sent.proposedAt = null;
    this.propose();
  }

  /** An entry of the shard is committed. If it is the next of this node's, it need not be proposed again. */
  committed(shard: number, data: Uint8Array): void {
    const lane = this.#lanes[shard];
    const next = lane?.sent[lane.ordered];
    if (lane === undefined || next === undefined || next.bytes.length !== data.length) return;
    if (Buffer.compare(this.#components.spool.read(next.bytes), data) === 0) lane.ordered++;
  }

  /** The replica took a batch of this incarnation, or staged a part. */
  taken(shard: number, csn: number, part: number): void {
    const lane = this.#lanes[shard]!;
    while (lane.sent.length > 0) {
      const first = lane.sent[0]!;
      if (first.csn > csn || (first.csn === csn && first.part > part)) break;
      lane.sent.shift();
      lane.ordered = Math.max(0, lane.ordered - 1);
      lane.patienceMs = PROPOSE_AGAIN_MS;
      this.#bytes -= first.size;
      if (first.drain !== null) this.#components.spool.release(first.bytes);
      if (first.drain === null) lane.opened = true;
      else {
        this.#rows -= first.rows;
        if (first.last) this.#arrived(first, first.drain);
      }
    }
    if (laneInUse(this.#lanes) === null) this.#blocked = false;
    this.#settle();
  }

  #arrived(sent: Sent, drain: DrainRecord): void {
    for (const [table, sentKeys] of sent.keys?.tables() ?? []) {
      const keys = this.#inFlight.get(table);
      for (const keyId of sentKeys) if (keys?.get(keyId)?.drain === drain) keys.delete(keyId);
    }
    drain.batchesLeft--;
  }

  /** Drains are acknowledged in their order, so that one watermark per log is true. */
  #settle(): void {
    while (this.#drains.length > 0 && this.#drains[0]!.batchesLeft === 0) {
      const drain = this.#drains.shift()!;
      this.#acknowledged.upTo.push(...drain.upTo);
      for (const { table, upTo } of drain.upTo) this.#settled.set(table, upTo);
      this.#acknowledged.looked.push(drain.looked);
    }
    if (this.#drains.length === 0 && this.#bytes === 0) this.#components.spool.clear();
  }

  /** Whether log rows wait to be deleted. */
  get hasAcknowledged(): boolean {
    return this.#acknowledged.upTo.length > 0;
  }

  /** Log ids by table that are ordered and may go, and the keys to look at again. They stay until `dropAcknowledged`. */
  peekAcknowledged(): { upTo: Map<number, number>; looked: readonly KeyList[] } {
    const { upTo, looked } = this.#acknowledged;
    this.#acknowledged = { upTo: [...upTo], looked: looked.slice() };
    return { upTo: new Map(upTo.map((w) => [w.table, w.upTo])), looked };
  }

  /** What was peeked is written in the application's file. */
  dropAcknowledged(done: {
    readonly upTo: ReadonlyMap<number, number>;
    readonly looked: readonly unknown[];
  }): void {
    this.#acknowledged.upTo = this.#acknowledged.upTo.filter((w) => w.upTo > (done.upTo.get(w.table) ?? 0));
    this.#acknowledged.looked.splice(0, done.looked.length);
  }

  /** Log id up to which the table's drains are taken, as far as it is not dropped yet. */
  settled(table: number): number | undefined {
    return this.#settled.get(table);
  }
}
