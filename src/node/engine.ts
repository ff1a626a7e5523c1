/**
 * A member at work: groups, pipeline, watcher and timers around one loop. Events only wake it; each run is one
 * uninterrupted slice of everything there is to do.
 */
import type { Clock, Timer } from "../base/clock.ts";
import type { Logger } from "../base/logger.ts";
import type { Entry, SnapshotMetadata } from "../raft/types.ts";
import type { OpenReplica } from "../replica/open.ts";
import type { PeerId, ShardId } from "../shard/seams.ts";
import type { ShardRuntime } from "../shard/runtime.ts";
import type { StateMachine } from "../shard/state-machine.ts";
import type { Pipeline } from "./pipeline.ts";

const TICK_MS = 100;
/** Ticks of a stall of our own that are made up for: more would make us campaign against a living leader. */
const MAX_LATE_TICKS = 2;
/** How often the replica is checkpointed when it moved. */
const CHECKPOINT_MS = 2000;

export interface EngineComponents {
  readonly replica: OpenReplica;
  readonly clock: Clock;
  readonly logger: Logger;
  /** The log is idle: it may tidy up. */
  readonly idle: () => void;
  readonly onFailure: (error: Error) => void;
  readonly onSnapshotOffered: (shard: ShardId, from: PeerId, metadata: SnapshotMetadata) => void;
  /** Every tick, after the turn. */
  readonly onTick: () => void;
}

export class Engine implements StateMachine {
  readonly #components: EngineComponents;
  #runtime!: ShardRuntime;
  #pipeline!: Pipeline;
  #scheduled = false;
  #later: Timer | null = null;
  #ticker: Timer | null = null;
  #tickedAt = 0;
  #checkpointedAt = 0;
  #synced: number[];
  #stopped = false;
  #turnMs = 0;
  /** Positions are frozen while a snapshot is fetched: what comes meanwhile is in it. */
  frozen = false;

  constructor(components: EngineComponents) {
    this.#components = components;
    this.#synced = components.replica.replica.positions().map(() => 0);
  }

  /** The engine is the runtime's state machine, so they cannot be made in one go. */
  start(runtime: ShardRuntime, pipeline: Pipeline): void {
    this.#runtime = runtime;
    this.#pipeline = pipeline;
    this.#checkpoint();
    this.#tickedAt = this.#components.clock.now();
    this.#tickLater();
    this.wake();
  }

  stop(): void {
    this.#stopped = true;
    this.#later?.cancel();
    this.#ticker?.cancel();
  }

  /** Milliseconds that the longest turn since the last call took. */
  takeLongestTurn(): number {
    const longest = this.#turnMs;
    this.#turnMs = 0;
    return longest;
  }

  /** Runs soon: what comes in one turn of the event loop is handled together. */
  wake(): void {
    if (this.#scheduled || this.#stopped) return;
    this.#scheduled = true;
    queueMicrotask(() => this.#run());
  }

  #wakeLater(): void {
    if (this.#scheduled || this.#stopped) return;
    this.#scheduled = true;
    this.#components.clock.soon(() => this.#run());
  }

  #run(): void {
    this.#scheduled = false;
    if (this.#stopped) return;
    const { clock } = this.#components;
    const start = clock.now();
    try {
      this.#runtime.turn();
      if (!this.frozen) {
        const result = this.#pipeline.turn();
        this.#runtime.applied();
        // What the pipeline proposed leaves in this turn.
        if (this.#runtime.hasWork) this.#runtime.turn();
        if (result.again === "now" || this.#runtime.hasWork || this.#components.replica.replica.queued > 0)
          this.#wakeLater();
        else if (result.again === "later") this.#after(result.ms);
      }
    } catch (error) {
      this.#fail(error);
    }
    this.#turnMs = Math.max(this.#turnMs, clock.now() - start);
  }

  #after(ms: number): void {
    if (this.#later !== null) return;
    this.#later = this.#components.clock.after(ms, () => {
      this.#later = null;
      this.wake();
    });
  }

  #fail(error: unknown): void {
    if (this.#stopped) return;
    this.stop();
    this.#components.onFailure(error instanceof Error ? error : new Error(String(error)));
  }

  #tickLater(): void {
    this.#ticker = this.#components.clock.after(TICK_MS, () => this.#tick());
  }

  #tick(): void {
    if (this.#stopped) return;
    const { clock } = this.#components;
    const now = clock.now();
    const due = Math.floor((now - this.#tickedAt) / TICK_MS);
    this.#tickedAt = due > MAX_LATE_TICKS ? now : this.#tickedAt + due * TICK_MS;
    try {
      for (let i = Math.min(due, MAX_LATE_TICKS); i > 0; i--) this.#runtime.tick();
      if (!this.frozen) this.#pipeline.tick();
      if (now - this.#checkpointedAt >= CHECKPOINT_MS) this.#checkpoint();
      this.#components.onTick();
    } catch (error) {
      this.#fail(error);
      return;
    }
    this.wake();
    this.#tickLater();
  }

  #checkpoint(): void {
    const { replica, clock, idle } = this.#components;
    this.#checkpointedAt = clock.now();
    if (!replica.replica.betweenEntries) return;
    if (replica.replica.positions().every((index, shard) => index === this.#synced[shard])) return;
    this.#synced = replica.checkpoint() ?? this.#synced;
    idle();
  }

  // ------------------------------------------------------------------------------------------ state machine

  position(shard: ShardId): { index: number; term: number } {
    const { replica } = this.#components.replica;
    return { index: replica.position(shard), term: replica.term(shard) };
  }

  syncedPosition(shard: ShardId): number {
    return this.#synced[shard] ?? 0;
  }

  committed(shard: ShardId, entries: readonly Entry[]): void {
    this.#pipeline.committed(shard, entries);
  }

  snapshotOffered(shard: ShardId, from: PeerId, metadata: SnapshotMetadata): void {
    this.#components.onSnapshotOffered(shard, from, metadata);
  }

  leaderChanged(shard: ShardId, leader: PeerId): void {
    this.#components.logger.debug("leader", { shard, leader: leader === "" ? "none" : leader });
    if (leader !== "") this.#pipeline.outbox.leaderChanged(shard);
  }
}
