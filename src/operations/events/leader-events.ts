/** Events of leaders: a new leader of shards, shards without one for some time, and their return. */
import type { Logger } from "../../base/logger.ts";
import { showSpan } from "../../base/text/spans.ts";

/** Elections within this time are not told. */
const PATIENCE_MS = 2500;

export interface Leaders {
  /** By shard, the name of the leader; "": none is known. */
  readonly leaders: readonly string[];
  readonly terms: readonly number[];
  readonly voters: number;
  /** Voters that this node is connected to, itself included if it is one. */
  readonly inTouch: number;
}

const shardsText = (shards: readonly number[]): string =>
  `shard${shards.length === 1 ? "" : "s"} ${shards.join(", ")}`;

export class LeaderEvents {
  readonly #logger: Logger;
  /** Of the last look, and those that were told. */
  #seen: readonly string[] = [];
  #told: string[] = [];
  #leaderless: { readonly since: number; said: boolean } | null = null;

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  get isLeaderless(): boolean {
    return this.#leaderless !== null;
  }

  /** null: the node is no member now. */
  look(leaders: Leaders | null, now: number): void {
    if (leaders !== null) this.#lookAtLeaders(leaders);
    this.#lookAtMissing(leaders, now);
  }

  /** A leader is told when two looks agree on it; the shards of one leader are told together. */
  #lookAtLeaders({ leaders, terms }: Leaders): void {
    const fresh = leaders.flatMap((leader, shard) =>
      leader !== "" && leader === this.#seen[shard] && leader !== this.#told[shard]
        ? [{ leader, shard }]
        : [],
    );
    this.#seen = leaders;
    for (const [leader, list] of Map.groupBy(fresh, (one) => one.leader)) {
      const shards = list.map((one) => one.shard);
      for (const shard of shards) this.#told[shard] = leader;
      const term = Math.max(...shards.map((shard) => terms[shard] ?? 0));
      this.#logger.event("leader", `leader of ${shardsText(shards)} is ${leader}`, { leader, shards, term });
    }
  }

  #lookAtMissing(leaders: Leaders | null, now: number): void {
    const missing = leaders?.leaders.flatMap((leader, shard) => (leader === "" ? [shard] : [])) ?? [];
    const last = this.#leaderless;
    if (leaders === null || missing.length === 0) {
      if (last?.said === true && leaders !== null)
        this.#logger.event("leader", `all shards have leaders again after ${showSpan(now - last.since)}`, {
          afterMs: Math.round(now - last.since),
        });
      this.#leaderless = null;
      return;
    }
    this.#leaderless ??= { since: now, said: false };
    if (this.#leaderless.said || now - this.#leaderless.since < PATIENCE_MS) return;
    this.#leaderless.said = true;
    const { voters, inTouch } = leaders;
    const lost = inTouch * 2 <= voters ? "; a majority is needed" : "";
    const touch = `${inTouch} of ${voters} voters in touch`;
    this.#logger.event(
      "leader",
      `no leader of ${shardsText(missing)}: ${touch}${lost}`,
      { shards: missing, voters, inTouch },
      "warn",
    );
  }
}
