/** Replicas as snapshots between nodes: sends this node's, and receives the leader's when this node's log is too old. */
import { rmSync } from "node:fs";
import type { Clock } from "../base/clock.ts";
import { errorMessage } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import type { SqliteLogStore } from "../log-store/sqlite-log-store.ts";
import { publish } from "../replica/copies/database-files.ts";
import { isWorthTaking, prepareSnapshot } from "../replica/copies/install-snapshot.ts";
import type { OpenReplica } from "../replica/open-replica.ts";
import type { PeerId, ShardId, Transport } from "../shard/seams.ts";
import { sendSnapshot } from "../snapshot/stream.ts";
import { SnapshotTaker } from "../snapshot/take.ts";
import type { DataPaths } from "./data-paths.ts";
import { fetchReplica, REPLICA_REQUEST } from "./fetch-replica.ts";
import type { OnProgress } from "./work-progress.ts";

export interface SnapshotExchangeComponents {
  readonly replica: OpenReplica;
  readonly log: SqliteLogStore;
  readonly transport: Transport;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly nameOf: (peerId: PeerId) => string;
  readonly onProgress: OnProgress;
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
  #receiving: AbortController | null = null;
  #sent = 0;
  #closed = false;

  constructor(
    components: SnapshotExchangeComponents,
    { paths, peerId }: { paths: DataPaths; peerId: PeerId },
  ) {
    this.#components = components;
    this.#paths = paths;
    this.#peerId = peerId;
    const { replica } = components.replica;
    this.#taker = new SnapshotTaker(paths.replica, {
      checkpoint: () => replica.betweenEntries && components.replica.checkpoint() !== null,
      positions: () => replica.positions().map((index, shard) => ({ index, term: replica.term(shard) })),
    });
  }

  close(): void {
    this.#closed = true;
    this.#receiving?.abort();
  }

  /** Answers a transfer request of a peer with a copy of this node's replica. */
  async *send(to: PeerId, request: string): AsyncIterable<Uint8Array> {
    if (request !== REPLICA_REQUEST) throw new Error(`there is no transfer called ${request.slice(0, 100)}`);
    const target = `${this.#paths.incoming}/sent-${++this.#sent}.db`;
    const { log, logger, nameOf, replica } = this.#components;
    try {
      const copy = await this.#taker.take(target);
      const configurations = copy.positions.map(({ index }, shard) => log.configurationAt(shard, index)!);
      logger.info("sending the replica", { to: nameOf(to), bytes: copy.size });
      const { clusterId } = replica.replica.settings;
      yield* sendSnapshot({ clusterId, positions: copy.positions, configurations, size: copy.size }, target);
    } finally {
      rmSync(target, { force: true });
    }
  }

  /** This node's log ends before the leader's log begins: receives the replica of the leader to continue with it. */
  receive(shard: ShardId, from: PeerId): void {
    if (this.#receiving !== null || this.#closed) return;
    const { logger, nameOf, freeze } = this.#components;
    logger.info("receiving a replica: this node's log ends before the leader's log begins", {
      shard,
      from: nameOf(from),
    });
    const receiving = new AbortController();
    this.#receiving = receiving;
    freeze(true);
    void this.#receiveFrom(from, receiving.signal);
  }

  async #receiveFrom(from: PeerId, signal: AbortSignal): Promise<void> {
    const { replica, logger, freeze, onProgress, onReplacement } = this.#components;
    const received = `${this.#paths.incoming}/received.db`;
    try {
      const header = await fetchReplica(from, received, this.#components, signal);
      if (this.#closed) return;
      prepareSnapshot(received, replica.replica.settings.clusterId, this.#peerId, header);
      const positions = header.positions.map((p) => p.index);
      if (!isWorthTaking(positions, replica.replica.positions()))
        throw new Error("the received replica contains no entry that this node's replica lacks");
      publish(received, this.#paths.nextReplica);
      onReplacement();
    } catch (error) {
      if (this.#closed) return;
      logger.warn("the replica could not be received; the leader will offer it again", {
        error: errorMessage(error),
      });
      rmSync(received, { force: true });
      freeze(false);
    } finally {
      onProgress(null);
      this.#receiving = null;
    }
  }
}
