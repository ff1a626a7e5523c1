/**
 * This node's changesets on their way into the total order: numbered in one chain per shard, proposed again until this
 * node's own replica has taken them, and reported as ordered drain by drain. Row by row, a changeset leaves as a batch for
 * each of its shards; whole, as one batch in the active shard log (`chains.ts`). Everything in the outbox is still in the
 * change logs, so a restart may drop all of it.
 *
 * A drain enters with `collect`, the total order answers with `committed`, the replica with `taken`.
 */
import { assert } from "../base/assert.ts";
import type { OwnOutcome, PositionVector, RowChange, Watermark } from "../change/batch.ts";
import type { ChangeLogCursors } from "../change/change-log-cursor.ts";
import { KeyList } from "../change/key-map.ts";
import type { KeyId } from "../change/key.ts";
import type { TableShape } from "../change/shape.ts";
import { largeBytes } from "../change/value.ts";
import { type ChainPlace, openingBatch, type SchemaLead } from "./batch-builder.ts";
import {
  type Changeset,
  changesetPerShard,
  type DrainRecord,
  schemaChangeset,
  type SentChain,
  shardInUse,
  wholeChangeset,
} from "./chains.ts";
import type { DrainSink } from "./drain.ts";
import { InFlight, type SentImage } from "./in-flight.ts";
import type { Spool } from "./spool.ts";

/** Bytes proposed and not yet taken, over all shards. */
export const IN_FLIGHT_BYTES = 8 << 20;
/** Drains proposed and not yet taken. */
export const IN_FLIGHT_DRAINS = 16;
/** Above this many rows or bytes a drain's images are not remembered; nothing else is drained until it is taken. */
const REMEMBERED_ROWS = 50_000;
const REMEMBERED_BYTES = 16 << 20;
/**
 * A shard whose oldest batch gets no answer within this time has all of its batches proposed again. The time doubles up to
 * the limit while nothing is taken: batches that only wait must not fill the log.
 */
const PROPOSE_AGAIN_MS = 2000;
const PROPOSE_AGAIN_MS_MAX = 16_000;
/** Bytes a millisecond at which a slow network brings batches to the log: larger ones get more time. */
const SLOW_BYTES_PER_MS = 2000;
/** The pause after a proposal that did not leave this node; a large one waits for the queue to the leader. */
const LOST_MS = 500;
const QUEUED_BYTES_PER_MS = 50_000;

/** Milliseconds without an answer after which a chain's batches are proposed again. */
function patienceOf({ lost, patienceMs, sent }: SentChain): number {
  const proposed = sent.reduce((sum, { proposedAt, size }) => sum + (proposedAt === null ? 0 : size), 0);
  return lost ? LOST_MS + proposed / QUEUED_BYTES_PER_MS : patienceMs + proposed / SLOW_BYTES_PER_MS;
}

export interface OutboxComponents {
  /** "dropped": this call put it into no log. Otherwise it may or may not come through. */
  readonly propose: (shard: number, data: Uint8Array) => "accepted" | "forwarded" | "dropped";
  readonly shardOfKey: (table: number, keyId: KeyId) => number;
  readonly spool: Spool;
  /** Monotonic and wall clock, milliseconds. */
  readonly now: () => number;
  readonly wallTime: () => number;
  /** Called when a drain with rows is ordered, with the milliseconds since it began. */
  readonly onOrdered?: (ms: number) => void;
}

export interface OutboxOptions {
  readonly origin: string;
  readonly shards: number;
  /** Changesets stay whole over several shards. */
  readonly whole: boolean;
}

/** The part of an app-db session that the outbox needs. */
export interface OutboxSession {
  readonly cursors: ChangeLogCursors;
  /** Of the schema that the app database last reflected. */
  readonly schemaVersion: number;
}

/** Takes one drain: then either `done` or `giveUp` is called. */
export interface CollectingSink extends DrainSink {
  /** Rows found so far. */
  found(): number;
  /** Puts the rows into the chains. Returns how many. */
  done(): number;
  /** The changeset cannot leave before everything in flight was taken: forgets it. */
  giveUp(): void;
  /** Forgets it: its rows are drained again. */
  discard(): void;
}

export interface CollectOptions {
  readonly upTo: readonly Watermark[];
  /** This node's replica positions when the drain began. */
  readonly after: PositionVector;
  /** A schema change before the rows, when nothing is in flight; nothing else is collected until it is taken. */
  readonly schema?: SchemaLead | null;
}

export class Outbox {
  readonly #components: OutboxComponents;
  readonly #options: OutboxOptions;
  #session: OutboxSession;
  #incarnation = 0;
  /** By shard. */
  #chains: SentChain[] = [];
  #drains: DrainRecord[] = [];
  #proposed = 0;
  readonly #inFlight: InFlight;
  /** A changeset was found that cannot leave before everything in flight was taken. */
  #blocked = false;

  constructor(components: OutboxComponents, options: OutboxOptions, session: OutboxSession) {
    this.#components = components;
    this.#options = options;
    this.#session = session;
    this.#inFlight = new InFlight(components.spool);
  }

  // ------------------------------------------------------------------------------------------ state

  get incarnation(): number {
    return this.#incarnation;
  }

  /** Proposed or waiting for it, and not taken yet. */
  get bytesInFlight(): number {
    return this.#inFlight.bytes;
  }

  get rowsInFlight(): number {
    return this.#inFlight.rows;
  }

  rowsInShard(shard: number): number {
    return this.#chains[shard]?.sent.reduce((sum, s) => sum + s.rows, 0) ?? 0;
  }

  /** Shards whose fence this node's replica has not passed. */
  fencing(): number[] {
    return this.#chains.flatMap((chain, shard) => (chain.opened ? [] : [shard]));
  }

  /** Room for another drain. */
  get ready(): boolean {
    if (this.#chains.length === 0 || this.#chains.some((chain) => !chain.opened)) return false;
    if (this.#blocked || this.#drains.some((d) => d.alone)) return false;
    return this.#inFlight.bytes < IN_FLIGHT_BYTES && this.#drains.length < IN_FLIGHT_DRAINS;
  }

  /** Everything proposed is taken, the fence included. */
  get settledAll(): boolean {
    return this.#chains.length > 0 && this.#chains.every((chain) => chain.opened && chain.sent.length === 0);
  }

  /** Everything drained is acknowledged. */
  get idle(): boolean {
    return this.#drains.length === 0 && !this.#session.cursors.waiting;
  }

  /** Milliseconds since the oldest drain that is not ordered; 0: none. */
  oldestMs(): number {
    const oldest = this.#drains[0];
    return oldest === undefined ? 0 : Math.max(0, this.#components.now() - oldest.startedAt);
  }

  // ------------------------------------------------------------------------------------------ in

  /** Another session reads the app database from now on. */
  use(session: OutboxSession): void {
    this.#session = session;
  }

  /** Starts an incarnation, whose number is synced in the log store already: everything in flight is forgotten. */
  open(incarnation: number): void {
    assert(incarnation > this.#incarnation, "incarnations rise");
    this.#incarnation = incarnation;
    this.#inFlight.clear();
    this.#drains = [];
    this.#blocked = false;
    this.#chains = Array.from({ length: this.#options.shards }, () => ({
      csn: 1,
      sent: [
        {
          ...{ csn: 1, part: 1, last: true, size: 0, rows: 0, drain: null, keys: null, proposedAt: null },
          bytes: openingBatch(this.#place(1, 0, [])),
        },
      ],
      ordered: 0,
      patienceMs: PROPOSE_AGAIN_MS,
      lost: false,
      opened: false,
    }));
    this.propose();
  }

  #place(csn: number, previousCsn: number, after: PositionVector): ChainPlace {
    const { origin } = this.#options;
    const { schemaVersion } = this.#session;
    const time = this.#components.wallTime();
    return { origin, incarnation: this.#incarnation, csn, previousCsn, schemaVersion, time, after };
  }

  /** A sink for one drain. Its rows are proposed with the next `propose` after `done`. */
  collect({ upTo, after, schema = null }: CollectOptions): CollectingSink {
    assert(schema === null || this.settledAll, "a change of the schema leaves when nothing is in flight");
    const { now, shardOfKey } = this.#components;
    const drain: DrainRecord = {
      ...{ upTo, looked: new KeyList(), startedAt: now(), batchesLeft: 0, rows: 0 },
      alone: schema !== null,
    };
    const images: SentImage[] = [];
    let bytes = 0;
    const changeset = this.#changesetOf(drain, after, schema);
    return {
      inFlight: (table, keyId) => this.#inFlight.image(table, keyId),
      add: (shape: TableShape, row: Omit<RowChange, "base">, base: PositionVector) => {
        // Under a schema that is not taken yet the shard of a row is unknown, and all rows go through shard 0.
        const shard = schema === null ? shardOfKey(shape.id, row.keyId) : 0;
        const builder = changeset.builderOf(shard);
        if (builder === null) return false;
        builder.add(shape, row, base);
        drain.rows++;
        bytes += largeBytes(row.image);
        if (drain.rows > REMEMBERED_ROWS || bytes > REMEMBERED_BYTES) {
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
        if (drain.rows > 0 || schema !== null) changeset.finish();
        this.#inFlight.add(drain, images);
        this.#drains.push(drain);
        this.#settle();
        return drain.rows;
      },
      giveUp: () => {
        this.#inFlight.discard(changeset.size());
        this.#blocked = true;
      },
      discard: () => {
        this.#inFlight.discard(changeset.size());
      },
    };
  }

  #changesetOf(drain: DrainRecord, after: PositionVector, schema: SchemaLead | null): Changeset {
    const components = {
      drain,
      chains: this.#chains,
      place: (csn: number, previousCsn: number, at: PositionVector) => this.#place(csn, previousCsn, at),
      keep: (bytes: Uint8Array) => this.#inFlight.keep(bytes),
    };
    if (schema !== null) return schemaChangeset(components, after, schema);
    return this.#options.whole ? wholeChangeset(components, after) : changesetPerShard(components);
  }

  // ------------------------------------------------------------------------------------------ out

  /** Batches proposed since the start, repeated ones included. */
  get proposed(): number {
    return this.#proposed;
  }

  /** Proposes everything that waits, in the order of each chain, up to the bound on bytes in flight. */
  propose(): void {
    const now = this.#components.now();
    this.#chains.forEach((chain, shard) => {
      this.#retryLate(chain, now);
      let ahead = 0;
      for (const [i, sent] of chain.sent.entries()) {
        if (i >= chain.ordered && sent.proposedAt === null) {
          if (ahead > 0 && ahead + sent.size > IN_FLIGHT_BYTES) break;
          const bytes = this.#components.spool.read(sent.bytes);
          if (this.#components.propose(shard, bytes) === "dropped") break;
          this.#proposed++;
          sent.proposedAt = now;
        }
        ahead += sent.size;
      }
    });
  }

  /** Batches that got no answer in time are due again. */
  #retryLate(chain: SentChain, now: number): void {
    const at = chain.sent[chain.ordered]?.proposedAt ?? null;
    if (at === null || now - at <= patienceOf(chain)) return;
    chain.lost = false;
    chain.patienceMs = Math.min(2 * chain.patienceMs, PROPOSE_AGAIN_MS_MAX);
    for (const sent of chain.sent.slice(chain.ordered)) sent.proposedAt = null;
  }

  /** A proposal did not leave this node: the queue to the leader is full. */
  proposalLost(shard: number): void {
    const chain = this.#chains[shard];
    if (chain !== undefined) chain.lost = true;
  }

  /** The shard has a new leader: batches that were proposed to the old one may be lost. */
  leaderChanged(shard: number): void {
    const chain = this.#chains[shard];
    for (const sent of chain?.sent.slice(chain.ordered) ?? []) sent.proposedAt = null;
    this.propose();
  }

  // ------------------------------------------------------------------------------------------ answers

  /** Entries of the shard are committed. Own batches among them need not be proposed again. */
  committed(shard: number, entries: readonly { readonly data: Uint8Array }[]): void {
    const chain = this.#chains[shard];
    if (chain === undefined) return;
    for (const { data } of entries) {
      const next = chain.sent[chain.ordered];
      if (next === undefined || next.bytes.length !== data.length) continue;
      if (Buffer.compare(this.#components.spool.read(next.bytes), data) === 0) chain.ordered++;
    }
  }

  /** The replica's answers to own batches. Returns the one that ends the incarnation: another must be opened; null: none. */
  taken(outcomes: readonly OwnOutcome[]): OwnOutcome | null {
    for (const outcome of outcomes) {
      const { shard, incarnation, csn, part, verdict } = outcome;
      if (incarnation !== this.#incarnation) continue;
      if (verdict === "refuse") return outcome;
      this.#take(this.#chains[shard]!, csn, part);
      if (verdict === "redirect") return outcome;
    }
    return null;
  }

  /** The replica took the chain up to a batch, or staged a part. */
  #take(chain: SentChain, csn: number, part: number): void {
    while (chain.sent.length > 0) {
      const first = chain.sent[0]!;
      if (first.csn > csn || (first.csn === csn && first.part > part)) break;
      chain.sent.shift();
      chain.ordered = Math.max(0, chain.ordered - 1);
      chain.patienceMs = PROPOSE_AGAIN_MS;
      this.#inFlight.remove(first);
      if (first.drain === null) chain.opened = true;
      else if (first.last) first.drain.batchesLeft--;
    }
    if (shardInUse(this.#chains) === null) this.#blocked = false;
    this.#settle();
  }

  /** Drains count as ordered one after the other, so that one watermark per log is enough. */
  #settle(): void {
    while (this.#drains.length > 0 && this.#drains[0]!.batchesLeft === 0) {
      const drain = this.#drains.shift()!;
      if (drain.rows > 0) this.#components.onOrdered?.(this.#components.now() - drain.startedAt);
      this.#session.cursors.order(drain.upTo, drain.looked);
    }
    if (this.#drains.length === 0 && this.#inFlight.bytes === 0) this.#components.spool.clear();
  }
}
