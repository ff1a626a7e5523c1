/**
 * The loop of a replicator: Raft groups, pipeline and timers. Events only wake it; each run is one uninterrupted slice of
 * all pending work.
 */
import type { Clock, Timer } from "../base/clock.ts";
import type { Logger } from "../base/logger.ts";
import type { Entry, SnapshotMetadata } from "../raft/model/types.ts";
import type { OpenReplica } from "../replica/open-replica.ts";
import type { PeerId, ShardId } from "../shard/seams.ts";
import { QUIET_HEARTBEAT_TICKS } from "../shard/leaders/quiet.ts";
import type { ShardRuntime } from "../shard/runtime.ts";
import type { StateMachine } from "../shard/state-machine.ts";
import { isProposal } from "./messages/check-proposal.ts";
import { Garbage } from "./machine/garbage.ts";
import type { Host } from "./machine/host.ts";
import type { Pipeline } from "./pipeline/pipeline.ts";
import type { TurnResult } from "./pipeline/turn.ts";

export const TICK_MS = 100;
/** The path of the app database is checked at most this often. */
const CHECK_FILE_MS = 5;
/** The same while the cluster is quiet: as long as a leader's heartbeats are apart. */
const QUIET_TICK_MS = QUIET_HEARTBEAT_TICKS * TICK_MS;
/** Late ticks that are repeated after a stall of this process: more would start an election against a working leader. */
const MAX_LATE_TICKS = 2;
/** Rounds of Raft in one stage: work that a write made possible is done at once, up to this bound. */
const MAX_ROUNDS = 4;
/** Milliseconds between two checkpoints of a replica that changed. */
const CHECKPOINT_MS = 2000;
/** So much longer a checkpoint waits for the rest of a changeset, whose parts it would store. */
const PATIENCE_MS = 8000;

export interface EventLoopComponents {
  readonly replica: OpenReplica;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Called when the log is idle and may compact itself. */
  readonly idle: () => void;
  readonly onFailure: (error: Error) => void;
  readonly onSnapshotOffered: (shard: ShardId, from: PeerId, metadata: SnapshotMetadata) => void;
  readonly host: Pick<Host, "memory" | "collectGarbage">;
  /** Throws if the path of the app database no longer leads to the open file. */
  readonly checkFile: () => void;
  /** Called before so many bytes of rows are handled. True: peers were told that this node is busy. */
  readonly tellBusy: (bytes: number) => boolean;
  /** After one tick, or after several that passed together. */
  readonly onTicks: (ticks: number) => void;
  /** A shard has another leader. */
  readonly onLeader: (shard: ShardId) => void;
}

export class EventLoop implements StateMachine {
  readonly #components: EventLoopComponents;
  readonly #garbage: Garbage;
  #runtime!: ShardRuntime;
  #pipeline!: Pipeline;
  #scheduled = false;
  #later: Timer | null = null;
  #laterAt = 0;
  #ticker: Timer | null = null;
  #tickedAt = 0;
  /** Until the next tick. */
  #tickMs = TICK_MS;
  #checkpointedAt = 0;
  #synced: number[];
  #stopped = false;
  #turnMs = 0;
  #running = false;
  #startedAt = 0;
  /** While a snapshot is received, positions must not change: the snapshot contains later entries. */
  frozen = false;
  #fileCheckedAt = Number.NEGATIVE_INFINITY;
  /** The path of the app database leads to another file: it is checked at once. */
  fileSuspect = false;

  constructor(components: EventLoopComponents) {
    this.#components = components;
    this.#garbage = new Garbage(components.host, components.clock);
    this.#synced = components.replica.replica.positions().map(() => 0);
  }

  /** The loop is the state machine of the runtime, so the runtime is set after construction. */
  start(runtime: ShardRuntime, pipeline: Pipeline): void {
    this.#runtime = runtime;
    this.#pipeline = pipeline;
    this.#checkpoint();
    this.#tickedAt = this.#components.clock.now();
    this.#tickAfter(TICK_MS);
    this.wake();
  }

  stop(): void {
    this.#stopped = true;
    this.#later?.cancel();
    this.#ticker?.cancel();
  }

  /** Duration in milliseconds of the longest turn since the last call. */
  takeLongestTurn(): number {
    const longest = this.#turnMs;
    this.#turnMs = 0;
    return longest;
  }

  /** Nothing but heartbeats comes and goes. */
  get isQuiet(): boolean {
    return this.#tickMs > TICK_MS;
  }

  /** Before a message is handled: in a quiet cluster the time until it came passes first. */
  catchUp(): void {
    if (!this.isQuiet || this.#running || this.#stopped) return;
    if (this.#components.clock.now() - this.#tickedAt >= TICK_MS) this.#tick();
  }

  /** Runs soon: all events of one turn of the JavaScript event loop are handled together. */
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
   * One run: Raft, then the pipeline, then the proposals of the pipeline. After each send the network gets a turn before the
   * next long step (a write, a transaction), so that the bytes leave first.
   */
  #run(): void {
    this.#scheduled = false;
    if (this.#stopped || this.#running) return;
    this.#running = true;
    this.#startedAt = this.#components.clock.now();
    this.#raft(1, () => this.#work());
  }

  /** Runs `step`, and `next` when the network has the sent bytes. A failure ends the node. */
  #stage(step: () => boolean, next: () => void): void {
    if (this.#stopped) return;
    let sent: boolean;
    try {
      sent = step();
    } catch (error) {
      this.#fail(error);
      return;
    }
    // A link batches the messages of one microtask turn, the encryption those of the next: after two the bytes are sent.
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

  #checkFile(): void {
    if (!this.fileSuspect && this.#startedAt - this.#fileCheckedAt < CHECK_FILE_MS) return;
    this.#fileCheckedAt = this.#startedAt;
    this.#components.checkFile();
    this.fileSuspect = false;
  }

  /** Peers learn that this node is busy before it is. */
  #work(): void {
    this.#stage(
      () => this.#components.tellBusy(this.#pipeline.bytesAhead),
      () => this.#turn(),
    );
  }

  #turn(): void {
    let result: TurnResult = { again: "never" };
    this.#stage(
      () => {
        if (this.frozen) return false;
        this.#checkFile();
        result = this.#pipeline.turn();
        this.#runtime.applied();
        return false;
      },
      () => this.#raft(1, () => this.#rest(result)),
    );
  }

  #rest(result: TurnResult): void {
    this.#running = false;
    const { clock, replica } = this.#components;
    this.#turnMs = Math.max(this.#turnMs, clock.now() - this.#startedAt);
    const woken = this.#scheduled;
    this.#scheduled = false;
    if (this.#stopped) return;
    if (this.isQuiet && !this.#runtime.isQuiet) this.#tickAfter(TICK_MS);
    if (this.frozen) return;
    if (woken) this.wake();
    else if (result.again === "now" || this.#runtime.hasWork || replica.replica.runnable) this.#wakeLater();
    else if (result.again === "later") this.#after(result.ms);
  }

  /** Runs after `ms` or earlier. */
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

  #tickAfter(ms: number): void {
    this.#ticker?.cancel();
    this.#tickMs = ms;
    this.#ticker = this.#components.clock.after(ms, () => this.#tick());
  }

  #tick(): void {
    if (this.#stopped) return;
    const { clock } = this.#components;
    const now = clock.now();
    const due = Math.floor((now - this.#tickedAt) / TICK_MS);
    const most = Math.max(MAX_LATE_TICKS, this.#tickMs / TICK_MS);
    const ticks = Math.min(due, most);
    this.#tickedAt = due > most ? now : this.#tickedAt + due * TICK_MS;
    try {
      this.#runtime.wasStopped(due);
      for (let i = 0; i < ticks; i++) this.#runtime.tick();
      if (!this.frozen) this.#pipeline.tick();
      if (now - this.#checkpointedAt >= this.#checkpointPause) this.#checkpoint();
      this.#components.onTicks(ticks);
      this.#garbage.tick(this.#runtime.counters.turns);
    } catch (error) {
      this.#fail(error);
      return;
    }
    this.wake();
    this.#tickAfter(this.#runtime.isQuiet ? QUIET_TICK_MS : TICK_MS);
  }

  get #checkpointPause(): number {
    return CHECKPOINT_MS + (this.#components.replica.replica.isAhead ? PATIENCE_MS : 0);
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

  mayPropose(shard: ShardId, peer: PeerId, data: Uint8Array): boolean {
    const { replica } = this.#components.replica;
    const lastIndex = (other: ShardId): number => this.#runtime.groups[other]?.raft.lastIndex ?? 0;
    return isProposal({ replica, lastIndex }, shard, peer, data);
  }

  proposalLost(shard: ShardId): void {
    this.#pipeline.outbox.proposalLost(shard);
  }

  leaderChanged(shard: ShardId, leader: PeerId): void {
    this.#components.logger.debug("leader", { shard, leader: leader === "" ? "none" : leader });
    if (leader === "") return;
    this.#components.onLeader(shard);
    this.#pipeline.outbox.leaderChanged(shard);
  }
}
