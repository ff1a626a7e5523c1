/** The work of a replicator at each tick: news for the peers, the request to become a voter, warnings, the WAL. */
import type { Clock } from "../base/clock.ts";
import type { Logger } from "../base/logger.ts";
import type { Role } from "./members/role.ts";
import type { WalUpkeep } from "../app-db/wal-upkeep.ts";
import type { Transport } from "../shard/seams.ts";
import type { EventLoop } from "./event-loop.ts";
import type { ClusterFormats } from "./formats/cluster-formats.ts";
import { DataFiles } from "./machine/data-files.ts";
import type { DataPaths } from "./machine/data-paths.ts";
import type { ApplicationSqlite } from "./machine/application-sqlite.ts";
import type { MemberChanges } from "./members/member-changes.ts";
import type { PeerLives } from "./lives/peer-lives.ts";
import type { PeerNews } from "./peer-news.ts";
import type { NodeNews } from "./messages/control-messages.ts";
import { UnreachedReports } from "./members/reachability.ts";
import type { Readiness } from "./readiness.ts";
import type { SnapshotExchange } from "./snapshots/snapshot-exchange.ts";

/** Ticks between two messages to all peers with the positions of this node. */
const NEWS_TICKS = 10;
/** Ticks after the start, in which a node gets ready, until the log is prepared for quick syncs. */
const FILL_TICKS = 3;
/** A turn that took longer is logged. */
const LONG_TURN_MS = 250;

export interface UpkeepComponents {
  readonly wal: WalUpkeep;
  readonly loop: EventLoop;
  readonly log: { fillWal(): void };
  readonly peers: PeerNews;
  readonly lives: PeerLives;
  readonly members: MemberChanges;
  readonly snapshots: SnapshotExchange;
  readonly readiness: Readiness;
  readonly formats: ClusterFormats;
  readonly application: ApplicationSqlite;
  /** See `Pipeline.triesSchema`. */
  readonly triesSchema: () => boolean;
  readonly transport: Transport;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly ownNews: () => NodeNews;
}

export interface UpkeepOptions {
  readonly role: Role;
  readonly paths: DataPaths;
}

export class Upkeep {
  readonly #components: UpkeepComponents;
  readonly #options: UpkeepOptions;
  readonly #dataFiles: DataFiles;
  readonly #unreached = new UnreachedReports();
  #ticks = 0;
  /** Names of the members because of which older formats are written, as the log said last. */
  #heldBackBy = "";

  constructor(components: UpkeepComponents, options: UpkeepOptions) {
    this.#components = components;
    this.#options = options;
    this.#dataFiles = new DataFiles(options.paths);
  }

  /** `passed`: ticks since the last call, fewer than `NEWS_TICKS`. */
  tick(passed: number): void {
    const { wal, members, transport, lives, peers, snapshots, loop, clock, logger, readiness, ownNews } =
      this.#components;
    const { application } = this.#components;
    wal.tick();
    const before = this.#ticks;
    const ticks = (this.#ticks += passed);
    if (before < FILL_TICKS && ticks >= FILL_TICKS) this.#components.log.fillWal();
    const isNewsTick = Math.floor(ticks / NEWS_TICKS) > Math.floor(before / NEWS_TICKS);
    members.askForPromotion({ role: this.#options.role, ticks, isNewsTick }, readiness);
    if (!isNewsTick) return;
    this.#dataFiles.check();
    members.look();
    // Peers that were removed since their hello are told so.
    for (const peer of transport.connected()) lives.checkAgain(peer);
    application.tick(!this.#components.triesSchema());
    this.#lookAtFormats();
    peers.tellNews(ownNews(), loop.isQuiet);
    for (const { from, to, reason } of this.#unreached.take(peers.unreached(), clock.now()))
      logger.event(
        "peer",
        `${from} and ${to} do not reach each other: ${reason}`,
        { from, to, reason },
        "warn",
      );
    snapshots.tick();
    const longest = loop.takeLongestTurn();
    if (longest > LONG_TURN_MS) logger.debug("a long turn", { ms: Math.round(longest) });
  }

  /** An upgrade is at its end when the newest formats are written. */
  #lookAtFormats(): void {
    const { formats, logger } = this.#components;
    const held = formats.held();
    const names = [...new Set(held.flatMap(({ heldBackBy }) => heldBackBy))].join(", ");
    if (names === this.#heldBackBy) return;
    if (names === "") logger.info("all members read the newest formats");
    else logger.info("older formats are written, since members do not read the newest", { members: names });
    this.#heldBackBy = names;
  }
}
