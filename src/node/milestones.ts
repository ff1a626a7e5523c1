/** Log lines for the turns of a node's life: ready, not ready, no leader, and back again. */
import type { Clock, Timer } from "../base/clock.ts";
import type { Logger } from "../base/logger.ts";
import { votersInTouch } from "../operations/health/voters.ts";
import type { ShardRuntime } from "../shard/runtime.ts";
import type { PeerId } from "../shard/seams.ts";

const LOOK_MS = 500;
/** Elections and short waits within this time are not logged. */
const PATIENCE_MS = 2500;

export interface Leaders {
  /** Shards without a known leader. */
  readonly missing: readonly number[];
  readonly voters: number;
  /** Voters that this node is connected to, itself included if it is one. */
  readonly inTouch: number;
}

interface LeaderSource {
  readonly runtime: Pick<ShardRuntime, "groups">;
}

export function leadersOf(
  { runtime: { groups } }: LeaderSource,
  { peerId, connected }: { readonly peerId: PeerId; readonly connected: readonly PeerId[] },
): Leaders {
  return {
    missing: groups.flatMap((g) => (g.leaderPeer === "" ? [g.shard] : [])),
    ...votersInTouch(groups[0]!.configuration, { peerId, connected }),
  };
}

export interface MilestonesComponents {
  readonly clock: Clock;
  readonly logger: Logger;
  /** The reason why the node is not ready; null: it is. */
  readonly notReady: () => string | null;
  /** null: the node is no member yet. */
  readonly leaders: () => Leaders | null;
}

const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;

/** A state that is logged when it lasts. */
interface Spell {
  readonly since: number;
  said: boolean;
}

export class Milestones {
  readonly #components: MilestonesComponents;
  readonly #startedAt: number;
  #timer: Timer | null = null;
  #wasReady = false;
  #unready: Spell | null = null;
  #leaderless: Spell | null = null;

  constructor(components: MilestonesComponents) {
    this.#components = components;
    this.#startedAt = components.clock.now();
    this.#repeat();
  }

  stop(): void {
    this.#timer?.cancel();
  }

  #repeat(): void {
    this.#timer = this.#components.clock.after(LOOK_MS, () => {
      this.look();
      this.#repeat();
    });
  }

  look(): void {
    const { clock, notReady, leaders } = this.#components;
    const now = clock.now();
    this.#lookAtLeaders(leaders(), now);
    this.#lookAtReadiness(notReady(), now);
  }

  #lookAtLeaders(leaders: Leaders | null, now: number): void {
    const { logger } = this.#components;
    if (leaders === null || leaders.missing.length === 0) {
      if (this.#leaderless?.said === true && leaders !== null)
        logger.info(`all shards have leaders again after ${seconds(now - this.#leaderless.since)}`);
      this.#leaderless = null;
      return;
    }
    this.#leaderless ??= { since: now, said: false };
    if (this.#leaderless.said || now - this.#leaderless.since < PATIENCE_MS) return;
    this.#leaderless.said = true;
    const { missing, voters, inTouch } = leaders;
    const shards = `shard${missing.length === 1 ? "" : "s"} ${missing.join(", ")}`;
    const lost = inTouch * 2 <= voters ? "; a majority is needed" : "";
    logger.warn(`no leader of ${shards}: ${inTouch} of ${voters} voters in touch${lost}`);
  }

  #lookAtReadiness(reason: string | null, now: number): void {
    const { logger } = this.#components;
    if (reason === null) {
      if (!this.#wasReady) logger.info(`ready after ${seconds(now - this.#startedAt)}`);
      else if (this.#unready?.said === true)
        logger.info(`ready again after ${seconds(now - this.#unready.since)}`);
      this.#wasReady = true;
      this.#unready = null;
      return;
    }
    if (!this.#wasReady) return;
    this.#unready ??= { since: now, said: false };
    if (this.#unready.said || now - this.#unready.since < PATIENCE_MS) return;
    if (this.#leaderless !== null) return;
    this.#unready.said = true;
    logger.warn(`not ready: ${reason}`);
  }
}
