/** Looks at the node once or twice a second and tells the turns of its life: see `operations/events`. */
import type { Clock, Timer } from "../base/clock.ts";
import { asPeerId } from "../base/ids.ts";
import type { Logger } from "../base/logger.ts";
import { showSpan } from "../base/text/spans.ts";
import { conflictSummary } from "../operations/conflicts.ts";
import { DataEvents, type DataFacts } from "../operations/events/data-events.ts";
import { type HistoryFacts, SAMPLE_MS } from "../operations/health/history.ts";
import type { NodeStatus } from "../operations/api.ts";
import { LeaderEvents, type Leaders } from "../operations/events/leader-events.ts";
import { MemberEvents, type Membership } from "../operations/events/member-events.ts";
import type { Replicator } from "../replication/replicator.ts";
import type { PeerId } from "../shard/seams.ts";

const LOOK_MS = 500;
/** The same while the node is ready. */
const READY_LOOK_MS = 1000;
/** Short waits within this time are not told. */
const PATIENCE_MS = 2500;

/** The facts of a member at one time. */
export interface Sight {
  readonly leaders: Leaders;
  readonly membership: Membership;
  readonly data: DataFacts;
}

export function sightOf(
  replicator: Replicator,
  { peerId, connected }: { readonly peerId: PeerId; readonly connected: readonly PeerId[] },
): Sight {
  const { groups } = replicator.runtime;
  const { members, configuration, index } = groups[0]!.configuration;
  const seen = members.map((m) => ({
    ...{ id: m.id, name: m.name, isVoter: configuration.voters.includes(m.id) },
    connected: m.peerId === peerId || connected.includes(m.peerId),
  }));
  const voters = seen.filter((m) => m.isVoter);
  const { replica } = replicator.replica;
  return {
    leaders: {
      leaders: groups.map((g) => (g.leaderPeer === "" ? "" : replicator.peers.nameOf(g.leaderPeer))),
      terms: groups.map((g) => g.raft.term),
      voters: voters.length,
      inTouch: voters.filter((m) => m.connected).length,
    },
    membership: { index, members: seen },
    data: {
      schemaVersion: replica.settings.schemaVersion,
      schemaFrom: () => {
        const last = replica.schemaEntriesAfter(replica.settings.schemaVersion - 1).at(-1);
        return last === undefined ? "" : replicator.peers.nameOf(asPeerId(last.peer));
      },
      conflicts: replica.journal.added,
      newestConflict: () => {
        const newest = replica.journal.list(1)[0];
        return newest === undefined ? null : conflictSummary(replicator, newest);
      },
    },
  };
}

/** The figures of a node for its history. */
export const historyFacts = (
  { node, pending, members, shards }: NodeStatus,
  replicator: Replicator | null,
  at: number,
): HistoryFacts => ({
  at,
  ready: node.ready,
  pending: pending.changes,
  rows: replicator?.pipeline.counters().drainedRows ?? 0,
  entries: shards.reduce((sum, s) => sum + s.appliedIndex, 0),
  lag: Object.fromEntries(members.map((m) => [m.name, m.lagEntries])),
});

export interface MilestonesComponents {
  readonly clock: Clock;
  readonly logger: Logger;
  /** The reason why the node is not ready; null: it is. */
  readonly notReady: () => string | null;
  /** null: the node is no member yet. */
  readonly sight: () => Sight | null;
  /** Called at each look. */
  readonly onLook?: () => void;
  /** Called every 10 s. Absent: no history is kept. */
  readonly onSample?: () => void;
}

export class Milestones {
  readonly #components: MilestonesComponents;
  readonly #startedAt: number;
  readonly #leaders: LeaderEvents;
  readonly #members: MemberEvents;
  readonly #data: DataEvents;
  #timer: Timer | null = null;
  #sampledAt = Number.NEGATIVE_INFINITY;
  #wasReady = false;
  #unready: { readonly since: number; said: boolean } | null = null;

  constructor(components: MilestonesComponents) {
    const { logger } = components;
    this.#components = components;
    this.#leaders = new LeaderEvents(logger);
    this.#members = new MemberEvents(logger);
    this.#data = new DataEvents(logger);
    this.#startedAt = components.clock.now();
    this.#repeat();
  }

  stop(): void {
    this.#timer?.cancel();
  }

  #repeat(): void {
    const isReady = this.#wasReady && this.#unready === null;
    this.#timer = this.#components.clock.after(isReady ? READY_LOOK_MS : LOOK_MS, () => {
      this.look();
      this.#repeat();
    });
  }

  look(): void {
    const { clock, notReady, sight } = this.#components;
    const now = clock.now();
    this.#components.onLook?.();
    if (now - this.#sampledAt >= SAMPLE_MS - LOOK_MS) {
      this.#sampledAt = now;
      this.#components.onSample?.();
    }
    const seen = sight();
    this.#leaders.look(seen?.leaders ?? null, now);
    this.#members.look(seen?.membership ?? null, now);
    this.#data.look(seen?.data ?? null, now);
    this.#lookAtReadiness(notReady(), now);
  }

  #lookAtReadiness(reason: string | null, now: number): void {
    const { logger } = this.#components;
    if (reason === null) {
      const since = this.#wasReady ? (this.#unready?.since ?? now) : this.#startedAt;
      const fields = { afterMs: Math.round(now - since) };
      if (!this.#wasReady) logger.event("ready", `ready after ${showSpan(now - since)}`, fields);
      else if (this.#unready?.said === true)
        logger.event("ready", `ready again after ${showSpan(now - since)}`, fields);
      this.#wasReady = true;
      this.#unready = null;
      return;
    }
    if (!this.#wasReady) return;
    this.#unready ??= { since: now, said: false };
    if (this.#unready.said || now - this.#unready.since < PATIENCE_MS) return;
    if (this.#leaders.isLeaderless) return;
    this.#unready.said = true;
    logger.event("ready", `not ready: ${reason}`, { reason }, "warn");
  }
}
