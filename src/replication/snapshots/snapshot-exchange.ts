/** Replicas as snapshots between nodes: sends this node's, and receives the leader's when this node's log is too old. */
import { rmSync } from "node:fs";
import { EMPTY_BYTES } from "../../base/bytes.ts";
import { type Clock, sleep } from "../../base/clock.ts";
import { errorMessage, UserError } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import type { SqliteLogStore } from "../../log-store/sqlite-log-store.ts";
import { publish } from "../../replica/copies/database-files.ts";
import { isWorthTaking, prepareSnapshot } from "../../replica/copies/install-snapshot.ts";
import type { OpenReplica } from "../../replica/open-replica.ts";
import type { LogIndex } from "../../base/ids.ts";
import type { PeerId, ShardId, Transport } from "../../shard/seams.ts";
import { BLOCK, type GrowingCopy } from "../../snapshot/growing-copy.ts";
import { sendSnapshot } from "../../snapshot/stream.ts";
import { SnapshotTaker } from "../../snapshot/take.ts";
import type { DataPaths } from "../machine/data-paths.ts";
import {
  fetchReplica,
  type Needed,
  readSharedRequest,
  REPLICA_REQUEST,
  type SharedRequest,
} from "./fetch-replica.ts";
import { LogHolds } from "./log-holds.ts";
import { SharedCopy } from "./shared-copy.ts";
import type { OnProgress } from "../machine/work-progress.ts";

/** The sender tells the receiver that it is alive at least this often. */
const ALIVE_MS = 1000;
/** A copy this many entries behind is not given to further receivers. */
const MAX_BEHIND = 50_000;
/** Copies for one receiver alone, such as `verify`, at the same time. */
const MAX_ALONE = 1;

/** Pause before another offer of a peer whose offer failed; doubled with each failure. */
const FIRST_REST_MS = 500;
const LONGEST_REST_MS = 30_000;
/** Peers whose failures are remembered. */
const MAX_FAILED = 256;

/** Offers that fail again and again would keep this node from its work: they are taken less and less often. */
class FailedOffers {
  readonly #failed = new Map<PeerId, { readonly failures: number; readonly until: number }>();

  mayTry(peer: PeerId, now: number): boolean {
    return now >= (this.#failed.get(peer)?.until ?? Number.NEGATIVE_INFINITY);
  }

  failed(peer: PeerId, now: number): void {
    if (this.#failed.size >= MAX_FAILED) this.#failed.clear();
    const failures = (this.#failed.get(peer)?.failures ?? 0) + 1;
    const rest = Math.min(LONGEST_REST_MS, FIRST_REST_MS * 2 ** Math.min(failures - 1, 20));
    this.#failed.set(peer, { failures, until: now + rest });
  }
}

export interface SnapshotExchangeComponents {
  readonly replica: OpenReplica;
  readonly log: SqliteLogStore;
  readonly transport: Transport;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly nameOf: (peerId: PeerId) => string;
  /** Random for this process. */
  readonly nonce: string;
  /** The commit index of a shard, as this node knows it. */
  readonly commit: (shard: ShardId) => LogIndex;
  readonly onProgress: OnProgress;
  /** Asks other voters to lead. */
  readonly handOver: () => void;
  /** A newer replica is stored at `paths.nextReplica`. */
  readonly onReplacement: () => void;
  /** Positions must not change while this node receives a replica: the snapshot contains later entries. */
  readonly freeze: (isFrozen: boolean) => void;
}

export class SnapshotExchange {
  readonly #components: SnapshotExchangeComponents;
  readonly #paths: DataPaths;
  readonly #peerId: PeerId;
  readonly #taker: SnapshotTaker;
  readonly #shared: SharedCopy;
  readonly holds = new LogHolds();
  readonly #offers = new FailedOffers();
  #receiving: AbortController | null = null;
  /** The shard for which a replica is received, and its commit index when that was offered. */
  #offered = { shard: 0, commit: 0 };
  #sent = 0;
  #alone = 0;
  #closed = false;

  constructor(
    components: SnapshotExchangeComponents,
    { paths, peerId }: { paths: DataPaths; peerId: PeerId },
  ) {
    this.#components = components;
    this.#paths = paths;
    this.#peerId = peerId;
    const { replica } = components.replica;
    const { clock } = components;
    this.#shared = new SharedCopy({
      clock,
      begin: () => this.#begin(),
    });
    this.#taker = new SnapshotTaker(paths.replica, {
      clock,
      checkpoint: () => replica.betweenEntries && components.replica.checkpoint() !== null,
      positions: () => replica.positions().map((index, shard) => ({ index, term: replica.term(shard) })),
    });
  }

  close(): void {
    this.#closed = true;
    this.#receiving?.abort();
    this.#shared.close();
  }

  #begin(): Promise<GrowingCopy> {
    this.#requireWhole();
    const number = ++this.#sent;
    const positions = Bun.hash.xxHash64(JSON.stringify(this.#components.replica.replica.positions()), 0n);
    const id = `${this.#components.nonce}-${number}-${positions.toString(16)}`;
    return this.#taker.begin(id, `${this.#paths.incoming}/sent-${number}.db`);
  }

  /** A node that leads and has no whole replica is of no use to a follower that needs one. */
  #requireWhole(): void {
    const [table] = this.#components.replica.replica.completion.tables.values();
    if (table === undefined) return;
    this.#components.handOver();
    throw new UserError(`this node's replica lacks the rows of a table: ${table.reason}`, table.hint);
  }

  /** A copy for this node itself. The caller removes the file. */
  async copyTo(path: string): Promise<GrowingCopy["head"]["positions"]> {
    this.#requireWhole();
    const copy = await this.#taker.begin(`own-${++this.#sent}`, path);
    while (!copy.isComplete) await copy.more(copy.length, () => new Promise(() => {}));
    return copy.head.positions;
  }

  /**
   * The copy has the admission of the receiver, or the receiver continues it; it has the entry that the receiver needs, since a
   * leader that offered an index expects it to be reached; and the log goes on from its position.
   */
  #isUsable({ head }: GrowingCopy, to: PeerId, { copy, needed }: SharedRequest): boolean {
    const { log } = this.#components;
    const member = log.configuration(0)?.members.findLast((m) => m.peerId === to)?.id;
    const known = log.configurationAt(0, head.positions[0]!.index)?.members ?? [];
    // A receiver that was started again has a new admission, and a part of the copy.
    if (copy !== head.id && known.every(({ id }) => id !== member)) return false;
    if (needed !== null && (head.positions[needed.shard]?.index ?? 0) < needed.index) return false;
    return head.positions.every(({ index }, shard) => {
      const group = log.group(shard);
      return index + 1 >= group.firstIndex() && group.lastIndex() - index <= MAX_BEHIND;
    });
  }

  /** Answers a transfer request of a peer with a copy of this node's replica. */
  async *send(to: PeerId, request: string): AsyncIterable<Uint8Array> {
    const shared = readSharedRequest(request);
    if (shared !== null) return yield* this.#sendShared(to, shared);
    if (request !== REPLICA_REQUEST) throw new Error(`there is no transfer called ${request.slice(0, 100)}`);
    if (this.#alone >= MAX_ALONE) throw new Error("this node sends another copy already");
    this.#alone++;
    let copy: GrowingCopy | null = null;
    try {
      copy = await this.#begin();
      yield* this.#stream(to, copy, { from: 0, isShared: false });
    } finally {
      this.#alone--;
      copy?.cancel();
      if (copy !== null) rmSync(copy.head.path, { force: true });
    }
  }

  async *#sendShared(to: PeerId, asked: SharedRequest): AsyncIterable<Uint8Array> {
    const { clock } = this.#components;
    const take = (): Promise<GrowingCopy | null> =>
      this.#shared.take((present) => this.#isUsable(present, to, asked));
    let copy = await take();
    while (copy === null) {
      // The receiver waits for the end of another transfer.
      yield EMPTY_BYTES;
      await sleep(clock, ALIVE_MS);
      copy = await take();
    }
    let isDone = false;
    try {
      const { id, size, positions } = copy.head;
      const continues = asked.copy === id && asked.from <= size && asked.from % BLOCK === 0;
      this.holds.hold(
        to,
        positions.map(({ index }) => index),
        clock.now(),
      );
      yield* this.#stream(to, copy, { from: continues ? asked.from : 0, isShared: true });
      isDone = true;
    } finally {
      this.#shared.release(to, isDone);
    }
  }

  #stream(
    to: PeerId,
    copy: GrowingCopy,
    { from, isShared }: { readonly from: number; readonly isShared: boolean },
  ): AsyncIterable<Uint8Array> {
    const { log, logger, nameOf, replica, clock } = this.#components;
    const { id, size, positions } = copy.head;
    const configurations = positions.map(({ index }, shard) => log.configurationAt(shard, index)!);
    const where = from > 0 ? ` from byte ${from} on` : "";
    logger.event("snapshot", `sending the replica to ${nameOf(to)}${where}`, {
      to: nameOf(to),
      bytes: size,
      ...(from > 0 ? { from } : {}),
    });
    const { clusterId } = replica.replica.settings;
    const header = { clusterId, positions, configurations, size };
    return sendSnapshot(isShared ? { ...header, copy: id, from } : header, copy, {
      from,
      pause: isShared ? () => sleep(clock, ALIVE_MS) : null,
    });
  }

  /** Called each second. An offer is needless if the log goes on: it must not hold this node up. */
  tick(): void {
    const { transport, clock, commit } = this.#components;
    this.holds.tick(transport.connected(), clock.now());
    const { shard, commit: before } = this.#offered;
    const { replica } = this.#components.replica;
    if (replica.completion.isDue(replica.settings)) return this.#receiveWhole();
    if (this.#receiving !== null && commit(shard) > before) this.#receiving.abort();
  }

  /** This node can write tables that its replica keeps without rows: each member with a whole one can send it. */
  #receiveWhole(): void {
    const { log, replica, transport } = this.#components;
    const members = log.configuration(0)?.members.map((m) => m.peerId) ?? [];
    for (const peer of transport.connected())
      if (members.includes(peer)) this.receive(peer, { shard: 0, index: replica.replica.position(0) });
  }

  /** The peer has a replica and is at work. */
  served(peer: PeerId): void {
    this.#shared.served(peer);
  }

  /** This node's log ends before the leader's log begins, or its replica is incomplete: receives the replica of the peer. */
  receive(from: PeerId, needed: Needed): void {
    if (this.#receiving !== null || this.#closed || !this.#offers.mayTry(from, this.#components.clock.now()))
      return;
    const { logger, nameOf, freeze } = this.#components;
    const { completion, settings } = this.#components.replica.replica;
    const why = completion.isDue(settings)
      ? "this node can write a table by now"
      : "this node's log ends before the leader's log begins";
    logger.event("snapshot", `receiving a replica: ${why}`, {
      shard: needed.shard,
      from: nameOf(from),
    });
    const receiving = new AbortController();
    this.#receiving = receiving;
    this.#offered = { shard: needed.shard, commit: this.#components.commit(needed.shard) };
    freeze(true);
    void this.#receiveFrom(from, needed, receiving.signal);
  }

  async #receiveFrom(from: PeerId, needed: Needed, signal: AbortSignal): Promise<void> {
    const { replica, logger, freeze, onProgress, onReplacement } = this.#components;
    const received = `${this.#paths.incoming}/received.db`;
    try {
      const header = await fetchReplica(from, received, { ...this.#components, needed }, signal);
      if (this.#closed) return;
      prepareSnapshot(received, replica.replica.settings.clusterId, this.#peerId, header);
      const positions = header.positions.map((p) => p.index);
      if (!isWorthTaking(positions, replica.replica.positions()))
        throw new Error("the received replica contains no entry that this node's replica lacks");
      publish(received, this.#paths.nextReplica);
      logger.event("snapshot", `received the replica of ${this.#components.nameOf(from)}`, {
        from: this.#components.nameOf(from),
        positions,
      });
      onReplacement();
    } catch (error) {
      if (this.#closed) return;
      this.#offers.failed(from, this.#components.clock.now());
      logger.event(
        "snapshot",
        "the replica could not be received; another try follows",
        { error: errorMessage(error) },
        "warn",
      );
      freeze(false);
    } finally {
      onProgress(null);
      this.#receiving = null;
    }
  }
}
