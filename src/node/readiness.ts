/** Whether a node is ready: fenced, in touch with every leader, caught up, reflected, capturing. */
import type { BasePositions } from "../change/base-positions.ts";
import type { Clock } from "../base/clock.ts";
import type { PositionVector } from "../change/batch.ts";
import type { Member } from "./member.ts";

/** Entries that a ready node may be behind, over all shards. */
const BEHIND_LIMIT = 5000;
/** Milliseconds after which the file must show what the replica holds. */
const REFLECT_WITHIN_MS = 5000;

export class Readiness {
  readonly #member: Member;
  readonly #bases: BasePositions;
  readonly #clock: Clock;
  #reflectedAt: number;
  #wasReady = false;
  /** Newest change-log ids at the first look after the fence, by table. */
  #before: readonly (readonly [table: number, id: number])[] | null = null;

  constructor({ member, bases, clock }: { member: Member; bases: BasePositions; clock: Clock }) {
    this.#member = member;
    this.#bases = bases;
    this.#clock = clock;
    this.#reflectedAt = clock.now();
  }

  /** The position that the application's file shows. */
  get reflected(): PositionVector {
    return this.#bases.reflected;
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
    const { runtime, pipeline, replica, engine, reader } = this.#member;
    if (engine.frozen) return "receiving a replica";
    if (pipeline.obstacle !== null) return pipeline.obstacle;
    const leaderless = runtime.groups.filter((g) => g.leaderPeer === "").map((g) => g.shard);
    if (leaderless.length > 0) return `waiting for a leader of shard ${leaderless.join(", ")}`;
    const fencing = pipeline.outbox.fencing();
    if (fencing.length > 0) return `fencing, waiting for shard ${fencing.join(", ")}`;
    const behind = this.behind();
    if (behind > (this.#wasReady ? BEHIND_LIMIT : 0)) return `catching up, ${behind} entries behind`;
    if (!this.#wasReady) {
      // A row written before the start may be ordered, and overwritten, already: until it is seen to be, the file shows it.
      this.#before ??= [...reader.newestIds()];
      if (this.#before.some(([table, id]) => pipeline.acknowledged(table) < id))
        return "waiting for what was written before the start to be ordered";
      if (pipeline.outbox.hasAcknowledged) return "reflecting into the file";
    }
    const { reflected } = this.#bases;
    const shows = replica.replica.positions().every((index, shard) => index === reflected[shard]);
    const now = this.#clock.now();
    if (shows) this.#reflectedAt = now;
    else if (!this.#wasReady) return "reflecting into the file";
    else if (now - this.#reflectedAt > REFLECT_WITHIN_MS)
      return "the file is behind the replica: the application holds its write lock";
    return null;
  }
}
