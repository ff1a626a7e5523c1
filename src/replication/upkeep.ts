/** The work of a replicator at each tick: news for the peers, the request to become a voter, warnings, the WAL. */
import type { Clock } from "../base/clock.ts";
import type { Logger } from "../base/logger.ts";
import type { WalUpkeep } from "../app-db/wal-upkeep.ts";
import type { ShardRuntime } from "../shard/runtime.ts";
import type { PeerId, Transport } from "../shard/seams.ts";
import type { SqliteVersion } from "../sqlite/sqlite-version.ts";
import { walResetNote } from "../sqlite/writer-version.ts";
import type { EventLoop } from "./event-loop.ts";
import type { SyncedFile } from "./machine/host.ts";
import type { MemberChanges } from "./members/member-changes.ts";
import type { PeerMessages } from "./peer-messages.ts";
import type { PeerNews } from "./peer-news.ts";
import type { NodeNews } from "./messages/control-messages.ts";
import { UnreachedReports } from "./members/reachability.ts";
import type { Readiness } from "./readiness.ts";
import type { SnapshotExchange } from "./snapshots/snapshot-exchange.ts";

/** Ticks between two messages to all peers with the positions of this node. */
const NEWS_TICKS = 10;
/** A learner asks to become a voter in each of the first ticks, then once per `NEWS_TICKS`. */
const EAGER_TICKS = 50;
/** A learner asks to become a voter when it is at most so many entries behind the leaders' commit indexes. */
const PROMOTE_WITHIN = 200;
/** A turn that took longer is logged. */
const LONG_TURN_MS = 250;

export interface UpkeepComponents {
  readonly wal: WalUpkeep;
  readonly runtime: ShardRuntime;
  readonly loop: EventLoop;
  readonly peers: PeerNews;
  readonly messages: PeerMessages;
  readonly members: MemberChanges;
  readonly snapshots: SnapshotExchange;
  readonly readiness: Readiness;
  readonly appDbFile: SyncedFile;
  readonly transport: Transport;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly ownNews: () => NodeNews;
}

export interface UpkeepOptions {
  readonly peerId: PeerId;
  readonly role: "voter" | "learner";
  /** The SQLite with which the application wrote before this node did; null: unknown. */
  readonly applicationVersion?: SqliteVersion | null;
}

export class Upkeep {
  /** The SQLite that the application writes with, as its file shows; null: unknown. */
  applicationVersion: SqliteVersion | null;
  readonly #components: UpkeepComponents;
  readonly #options: UpkeepOptions;
  readonly #unreached = new UnreachedReports();
  #ticks = 0;

  constructor(components: UpkeepComponents, options: UpkeepOptions) {
    this.#components = components;
    this.#options = options;
    this.applicationVersion = options.applicationVersion ?? null;
  }

  tick(): void {
    const { wal, members, transport, messages, peers, snapshots, loop, clock, logger, ownNews } =
      this.#components;
    wal.tick();
    const ticks = ++this.#ticks;
    if (ticks <= EAGER_TICKS || ticks % NEWS_TICKS === 0) this.#askForPromotion();
    if (ticks % NEWS_TICKS !== 0) return;
    members.look();
    // Peers that were removed since their hello are told so.
    for (const peer of transport.connected()) messages.checkHello(peer);
    this.#lookAtVersion();
    peers.tellAll({ kind: "news", ...ownNews() });
    for (const { from, to, reason } of this.#unreached.take(peers.unreached(), clock.now()))
      logger.warn("two nodes do not reach each other", { from, to, reason });
    snapshots.holds.tick(transport.connected(), clock.now());
    const longest = loop.takeLongestTurn();
    if (longest > LONG_TURN_MS) logger.debug("a long turn", { ms: Math.round(longest) });
  }

  #lookAtVersion(): void {
    const version = this.#components.appDbFile.writerVersion?.() ?? null;
    if (version === null || version === this.applicationVersion) return;
    this.applicationVersion = version;
    const note = walResetNote(version);
    if (note !== null) this.#components.logger.warn(note.message, { hint: note.hint });
  }

  /** A learner that is close to the end of each log asks to become a voter. */
  #askForPromotion(): void {
    const { runtime, readiness, peers, members } = this.#components;
    const { peerId, role } = this.#options;
    const self = runtime.groups[0]!.memberOf(peerId);
    if (role === "learner" || self?.role === "learner") return;
    if (runtime.isVoter(peerId)) return;
    if (readiness.behind() > PROMOTE_WITHIN) return;
    peers.tellAll({ kind: "promote" });
    members.promote(peerId);
  }
}
