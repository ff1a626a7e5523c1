/**
 * Whether a node is ready: fenced, in contact with each leader, caught up, reflected, capturing. Under load some committed
 * entry is always unapplied, and Raft's commit index may run ahead of the replica while shard 0 waits for a marker. So the
 * goal is fixed: the commit index of each shard that a quorum confirmed after the start, and after each silence.
 */
import type { Clock } from "../base/clock.ts";
import type { PositionVector } from "../change/batch.ts";

/** Committed entries, over all shards, that a ready node may have to apply. */
const BEHIND_LIMIT = 5000;
/** Milliseconds within which the file must reflect the position of the replica. */
const REFLECT_WITHIN_MS = 5000;
/** Milliseconds that shard 0 may wait for a marker while the node is ready. */
const MARKER_WITHIN_MS = 5000;
/** Milliseconds that a schema change may take while the node is ready. */
const SCHEMA_WITHIN_MS = 5000;

const reaches = (at: PositionVector, goal: PositionVector): boolean =>
  goal.every((index, shard) => (at[shard] ?? 0) >= index);

const isConfirmed = (goal: readonly (number | null)[]): goal is PositionVector =>
  goal.every((index) => index !== null);

/** The facts that readiness depends on; they change from call to call. */
export interface ReadinessFacts {
  readonly groups: readonly {
    readonly shard: number;
    /** "": no leader is known. */
    readonly leaderPeer: string;
    readonly raft: { readonly commit: number };
    /** The commit index that a quorum confirmed; null: not yet. */
    readonly confirmed: { readonly index: number | null };
  }[];
  readonly replica: {
    positions(): PositionVector;
    position(shard: number): number;
    /** Shards whose cross-shard marker shard 0 waits for. */
    awaitedMarkers(): readonly number[];
  };
  /** How the path of the application's file differs from the open file; null: it does not. */
  fileChange(): string | null;
  /** This node receives a replica, and applies nothing until it has it. */
  isReceiving(): boolean;
  /** The reason, as a sentence, for which replication is paused; null: none. */
  obstacle(): string | null;
  /** Why rows of some tables wait on this node, as a sentence; null: none do. */
  held(): string | null;
  /** The schema of the file is not the cluster's. */
  isSchemaDue(): boolean;
  /** Shards in which the entry that opens this incarnation is not committed. */
  fencing(): readonly number[];
  /** Rows are acknowledged and not yet reflected. */
  hasAcknowledged(): boolean;
  /** The node is a learner that gets a vote as soon as it has caught up. */
  awaitsVote(): boolean;
  /** Change-log rows of a table, up to `id`, that are not ordered yet. */
  unordered(table: number, id: number): number;
  /** The newest change-log id by table. */
  newestIds(): Iterable<readonly [table: number, id: number]>;
  /** The position that the application's file shows. */
  reflected(): PositionVector;
}

export class Readiness {
  readonly #facts: ReadinessFacts;
  readonly #clock: Clock;
  /** The position of the replica at the time when the file last reached the previous `#toShow`. */
  #toShow: PositionVector = [];
  #reflectedAt: number;
  #wasReady = false;
  /** The newest change-log ids at the first look after the fence, by table. */
  #before: readonly (readonly [table: number, id: number])[] | null = null;
  #passedAt: number;
  /** The last time without a pending schema change. */
  #schemaAt: number;
  #passed = 0;

  constructor(facts: ReadinessFacts, clock: Clock) {
    this.#facts = facts;
    this.#clock = clock;
    this.#reflectedAt = clock.now();
    this.#passedAt = clock.now();
    this.#schemaAt = clock.now();
  }

  /** The position that the application's file shows. */
  get reflected(): PositionVector {
    return this.#facts.reflected();
  }

  /** Committed entries, over all shards, that the replica has not applied; infinite while a leader is unknown. */
  behind(): number {
    const { replica, groups } = this.#facts;
    let behind = 0;
    for (const group of groups) {
      if (group.leaderPeer === "") return Number.POSITIVE_INFINITY;
      behind += Math.max(0, group.raft.commit - replica.position(group.shard));
    }
    return behind;
  }

  /** The reason as a sentence; null: ready. */
  notReady(): string | null {
    const reason = this.#reason();
    if (reason === null) this.#wasReady = true;
    return reason;
  }

  #reason(): string | null {
    const facts = this.#facts;
    const change = facts.fileChange();
    if (change !== null) return `the application's file was ${change}`;
    if (facts.isReceiving()) return "receiving a replica";
    const obstacle = facts.obstacle();
    if (obstacle !== null) return obstacle;
    const held = facts.held();
    if (held !== null) return held;
    const schema = this.#schemaWaits();
    const leaderless = facts.groups.filter((g) => g.leaderPeer === "").map((g) => g.shard);
    if (leaderless.length > 0) return `waiting for a leader of shard ${leaderless.join(", ")}`;
    const fencing = facts.fencing();
    if (fencing.length > 0) return `fencing, waiting for shard ${fencing.join(", ")}`;
    const goal = facts.groups.map((g) => g.confirmed.index);
    if (!isConfirmed(goal)) {
      const shards = goal.flatMap((index, shard) => (index === null ? [shard] : []));
      return `waiting for a quorum to confirm the commit index of shard ${shards.join(", ")}`;
    }
    const positions = facts.replica.positions();
    const { reflected } = this;
    const behind = this.behind();
    if (schema !== null) return schema;
    const stalled = this.#stalled();
    if (stalled !== null) return stalled;
    if (behind > BEHIND_LIMIT || !reaches(positions, goal)) return `catching up, ${behind} entries behind`;
    if (!this.#wasReady) {
      // A row from before the start may be ordered and overwritten already. Until this node sees that, the file shows it.
      this.#before ??= [...facts.newestIds()];
      if (this.#before.some(([table, id]) => facts.unordered(table, id) > 0))
        return "waiting for the rows written before the start to be ordered";
      if (facts.hasAcknowledged()) return "reflecting into the file";
      // Of three nodes that say ready, one may fail.
      if (facts.awaitsVote())
        return "waiting for its vote: until then the failure of a voter could stop the cluster";
    }
    const now = this.#clock.now();
    if (reaches(reflected, this.#toShow)) {
      this.#reflectedAt = now;
      this.#toShow = positions;
    }
    if (!reaches(reflected, goal)) return "reflecting into the file";
    if (now - this.#reflectedAt > REFLECT_WITHIN_MS)
      return "the file is behind the replica: the application holds its write lock";
    return null;
  }

  /** The reason if the schema of the file has differed from the cluster's for some time; null: it has not. */
  #schemaWaits(): string | null {
    const now = this.#clock.now();
    if (!this.#facts.isSchemaDue()) this.#schemaAt = now;
    if (this.#wasReady && now - this.#schemaAt <= SCHEMA_WITHIN_MS) return null;
    return this.#facts.isSchemaDue() ? "a schema change waits to be ordered" : null;
  }

  /** The reason if shard 0 has waited for some time for a cross-shard marker; null: it has not. */
  #stalled(): string | null {
    const { replica } = this.#facts;
    const now = this.#clock.now();
    const shards = replica.awaitedMarkers();
    if (shards.length === 0 || replica.position(0) !== this.#passed) {
      this.#passed = replica.position(0);
      this.#passedAt = now;
      return null;
    }
    return now - this.#passedAt > MARKER_WITHIN_MS
      ? `a changeset over several shards waits for a marker in shard ${shards.join(", ")}`
      : null;
  }
}
