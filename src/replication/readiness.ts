/**
 * Whether a node is ready: fenced, in touch with every leader, caught up, reflected, capturing. Under load some committed
 * entry is always unapplied, and Raft's commit index may run ahead of the replica while shard 0 waits for a marker. So
 * the goal is fixed: the commit index of each shard that a quorum confirmed after the start, and after each silence.
 */
import type { Clock } from "../base/clock.ts";
import type { PositionVector } from "../change/batch.ts";
import type { Member } from "./replicator.ts";

/** Entries that a ready node may be behind, over all shards. */
const BEHIND_LIMIT = 5000;
/** Milliseconds after which the file must show what the replica holds. */
const REFLECT_WITHIN_MS = 5000;
/** Milliseconds after which a marker that does not come is no delay any more. */
const MARKER_WITHIN_MS = 5000;

/** Milliseconds after which a change of the schema that does not come through is no delay any more. */
const SCHEMA_WITHIN_MS = 5000;

const reaches = (at: PositionVector, goal: PositionVector): boolean =>
  goal.every((index, shard) => (at[shard] ?? 0) >= index);

const isConfirmed = (goal: readonly (number | null)[]): goal is PositionVector =>
  goal.every((index) => index !== null);

export class Readiness {
  readonly #member: Member;
  readonly #clock: Clock;
  /** Where the replica stood when the file last showed all of what it held a while before. */
  #toShow: PositionVector = [];
  #reflectedAt: number;
  #wasReady = false;
  /** Newest change-log ids at the first look after the fence, by table. */
  #before: readonly (readonly [table: number, id: number])[] | null = null;
  #passedAt: number;
  /** When no change of the schema was on its way. */
  #schemaAt: number;
  #passed = 0;

  constructor({ member, clock }: { member: Member; clock: Clock }) {
    this.#member = member;
    this.#clock = clock;
    this.#reflectedAt = clock.now();
    this.#passedAt = clock.now();
    this.#schemaAt = clock.now();
  }

  /** The position that the application's file shows. */
  get reflected(): PositionVector {
    return this.#member.pipeline.session.bases.reflected;
  }

  /** Entries between the newest known commit and the replica, over all shards. */
  behind(): number {
    const { replica } = this.#member.replica;
    let behind = 0;
    for (const group of this.#member.runtime.groups) {
      if (group.leaderPeer === "") return Number.POSITIVE_INFINITY;
      behind += Math.max(0, group.raft.commit - replica.position(group.shard));
    }
    return behind;
  }

  /** In a sentence; null: ready. */
  notReady(): string | null {
    const reason = this.#reason();
    if (reason === null) this.#wasReady = true;
    return reason;
  }

  #reason(): string | null {
    const { runtime, pipeline, replica, loop, reader } = this.#member;
    if (loop.frozen) return "receiving a replica";
    if (pipeline.obstacle !== null) return pipeline.obstacle;
    const schema = this.#schemaWaits();
    const leaderless = runtime.groups.filter((g) => g.leaderPeer === "").map((g) => g.shard);
    if (leaderless.length > 0) return `waiting for a leader of shard ${leaderless.join(", ")}`;
    const fencing = pipeline.outbox.fencing();
    if (fencing.length > 0) return `fencing, waiting for shard ${fencing.join(", ")}`;
    const goal = runtime.groups.map((g) => g.confirmed.index);
    if (!isConfirmed(goal)) {
      const shards = goal.flatMap((index, shard) => (index === null ? [shard] : []));
      return `waiting for a quorum to confirm the commit index of shard ${shards.join(", ")}`;
    }
    const positions = replica.replica.positions();
    const { reflected } = this;
    const behind = this.behind();
    if (schema !== null) return schema;
    const stalled = this.#stalled();
    if (stalled !== null) return stalled;
    if (behind > BEHIND_LIMIT || !reaches(positions, goal)) return `catching up, ${behind} entries behind`;
    if (!this.#wasReady) {
      // A row written before the start may be ordered, and overwritten, already: until it is seen to be, the file shows it.
      this.#before ??= [...reader.newestIds()];
      if (this.#before.some(([table, id]) => pipeline.unordered(table, id) > 0))
        return "waiting for what was written before the start to be ordered";
      if (pipeline.session.cursors.waiting) return "reflecting into the file";
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

  /** The file's schema is not the cluster's, and was not for some time; null: it is. */
  #schemaWaits(): string | null {
    const now = this.#clock.now();
    if (!this.#member.pipeline.schemaDue) this.#schemaAt = now;
    if (this.#wasReady && now - this.#schemaAt <= SCHEMA_WITHIN_MS) return null;
    return this.#member.pipeline.schemaDue ? "a change of the schema waits to be ordered" : null;
  }

  /** Shard 0 has stood for some time at a changeset that others must mark; null: it has not. */
  #stalled(): string | null {
    const { replica } = this.#member.replica;
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
