/**
 * A member at work: groups, pipeline, watcher and timers around one loop. Events only wake it; each run is one
 * uninterrupted slice of everything there is to do.
 */
import type { Clock, Timer } from "../base/clock.ts";
import type { Logger } from "../base/logger.ts";
import type { Entry, SnapshotMetadata } from "../raft/model/types.ts";
import type { OpenReplica } from "../replica/open-replica.ts";
import type { PeerId, ShardId } from "../shard/seams.ts";
import type { ShardRuntime } from "../shard/runtime.ts";
import type { StateMachine } from "../shard/state-machine.ts";
import type { Host } from "./host.ts";
import type { Pipeline } from "./pipeline/pipeline.ts";
import type { TurnResult } from "./pipeline/turn.ts";

const TICK_MS = 100;
/** Ticks of a stall of our own that are made up for: more would make us campaign against a living leader. */
const MAX_LATE_TICKS = 2;
/** Rounds of Raft in one stage: what a write made possible is done at once, but not without end. */
const MAX_ROUNDS = 4;
/** Memory of the process above which garbage is collected, and how often that may be; and where there is hurry. */
const COLLECT_ABOVE_BYTES = 144 << 20;
const COLLECT_MS = 1000;
const HURRY_ABOVE_BYTES = 224 << 20;
const HURRY_MS = 250;
/** Turns of work since the last time, without which there is nothing to collect. */
const COLLECT_TURNS = 20;
/** How often the replica is checkpointed when it moved. */
const CHECKPOINT_MS = 2000;

export interface EventLoopComponents {
  readonly replica: OpenReplica;
  readonly clock: Clock;
  readonly logger: Logger;
  /** The log is idle: it may tidy up. */
  readonly idle: () => void;
  readonly onFailure: (error: Error) => void;
  readonly onSnapshotOffered: (shard: ShardId, from: PeerId, metadata: SnapshotMetadata) => void;
  readonly host: Pick<Host, "memory" | "collectGarbage">;
  /** Every tick, after the turn. */
  readonly onTick: () => void;
}

export class EventLoop implements StateMachine {
  readonly #components: EventLoopComponents;
  #runtime!: ShardRuntime;
  #pipeline!: Pipeline;
  #scheduled = false;
  #later: Timer | null = null;
  #laterAt = 0;
  #ticker: Timer | null = null;
  #tickedAt = 0;
  #checkpointedAt = 0;
  #synced: number[];
  #stopped = false;
  #turnMs = 0;
  #running = false;
  #collectedAt = 0;
  #collectedTurns = 0;
  #startedAt = 0;
  /** Positions are frozen while a snapshot is fetched: what comes meanwhile is in it. */
  frozen = false;

  constructor(components: EventLoopComponents) {
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
    if (!this.#running) queueMicrotask(() => this.#run());
  }

  #wakeLater(): void {
    if (this.#scheduled || this.#stopped) return;
    this.#scheduled = true;
    this.#components.clock.soon(() => this.#run());
  }

  /**
   * One run: Raft, then the pipeline, then what the pipeline proposed. After each sending the network gets its turn
   * before the next long thing (a write, a transaction), so that bytes leave first.
   */
  #run(): void {
    this.#scheduled = false;
    if (this.#stopped || this.#running) return;
    this.#running = true;
    this.#startedAt = this.#components.clock.now();
    this.#raft(1, () => this.#work());
  }

  /** Does `step` and hands on to `next` when what it sent is with the network; failures end the node. */
  #stage(step: () => boolean, next: () => void): void {
    if (this.#stopped) return;
    let sent: boolean;
    try {
      sent = step();
    } catch (error) {
      this.#fail(error);
      return;
    }
    // A link joins what one microtask turn sends, the encryption what the next does: two hops and the bytes are out.
    if (sent) queueMicrotask(() => queueMicrotask(next));
    else next();
  }

  #raft(round: number, next: () => void): void {
    if (!this.#runtime.hasWork || round > MAX_ROUNDS) {
      next();
      return;
    }
    this.#stage(
      () => this.#runtime.begin(),
      () =>
        this.#stage(
          () => this.#runtime.finish(),
          () => this.#raft(round + 1, next),
        ),
    );
  }

  #work(): void {
    let result: TurnResult = { again: "never" };
    this.#stage(
      () => {
        if (this.frozen) return false;
        result = this.#pipeline.turn();
        this.#runtime.applied();
        return false;
      },
      () => this.#raft(1, () => this.#rest(result)),
    );
  }

  /**
   * The heap grows to what the machine's memory seems to allow before it is collected by itself; under a long load this
   * node keeps to a bound instead.
   */
  #collect(): void {
    const { clock, host } = this.#components;
    const now = clock.now();
    if (now - this.#collectedAt < HURRY_MS) return;
    const { turns } = this.#runtime.counters;
    if (turns - this.#collectedTurns < COLLECT_TURNS) return;
    const rested = now - this.#collectedAt >= COLLECT_MS;
    if (host.memory() < (rested ? COLLECT_ABOVE_BYTES : HURRY_ABOVE_BYTES)) return;
    this.#collectedAt = now;
    this.#collectedTurns = turns;
    host.collectGarbage();
  }

  #rest(result: TurnResult): void {
    this.#running = false;
    const { clock, replica } = this.#components;
    this.#turnMs = Math.max(this.#turnMs, clock.now() - this.#startedAt);
    const woken = this.#scheduled;
    this.#scheduled = false;
    if (this.#stopped || this.frozen) return;
    if (woken) this.wake();
    else if (result.again === "now" || this.#runtime.hasWork || replica.replica.runnable) this.#wakeLater();
    else if (result.again === "later") this.#after(result.ms);
  }

  /** Runs after a while, or earlier. */
  #after(ms: number): void {
    const at = this.#components.clock.now() + ms;
    if (this.#later !== null && this.#laterAt <= at) return;
    this.#later?.cancel();
    this.#laterAt = at;
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
      this.#runtime.wasStopped(due);
      for (let i = Math.min(due, MAX_LATE_TICKS); i > 0; i--) this.#runtime.tick();
      if (!this.frozen) this.#pipeline.tick();
      if (now - this.#checkpointedAt >= CHECKPOINT_MS) this.#checkpoint();
      this.#components.onTick();
      this.#collect();
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
