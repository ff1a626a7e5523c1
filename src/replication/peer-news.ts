/** The peers of a node as it knows them: their names, their last reports, and the pairs that do not reach each other. */
import type { Clock } from "../base/clock.ts";
import type { MemberId } from "../raft/model/types.ts";
import type { PeerId, ShardId, Transport } from "../shard/seams.ts";
import type { ShardRuntime } from "../shard/runtime.ts";
import { extensions } from "../sqlite/functions/extensions.ts";
import { type Control, encodeControl, type NodeNews } from "./messages/control-messages.ts";
import type { MessageRouter } from "./messages/message-router.ts";
import { CommitTimes, entriesBehind, sumOf } from "./peer-lag.ts";
import { liveMembers, reachedByOthers, type UnreachedPair, unreachedPairs } from "./members/reachability.ts";

/** Between two equal messages with the state of a node: less than the time for which they count as fresh. */
const SAME_NEWS_MS = 2900;
/** Without a member in touch for this time, other nodes may have replaced all of them. */
const ALONE_MS = 10_000;

/** The last positions that a peer reported, and the time of the report. */
interface ReceivedNews extends NodeNews {
  readonly at: number;
  readonly lag: Lag;
}

/** Committed entries that a replica does not contain, over all shards, and since when. */
export interface Lag {
  readonly entries: number;
  readonly ms: number;
}

export interface PeerNewsComponents {
  readonly self: PeerId;
  readonly transport: Transport;
  readonly router: MessageRouter;
  readonly clock: Clock;
  /** null while the node opens its files. */
  readonly runtime: () => ShardRuntime | null;
}

export class PeerNews {
  readonly received = new Map<PeerId, ReceivedNews>();
  /** Whether a peer's checksums agreed when they were last compared. */
  readonly agreement = new Map<PeerId, boolean>();
  readonly #components: PeerNewsComponents;
  /** When a member was last seen to be connected. */
  #inTouchAt: number;
  readonly #commits: CommitTimes;
  /** The news that were told last, and when. */
  #told = "";
  #toldAt = Number.NEGATIVE_INFINITY;

  constructor(components: PeerNewsComponents) {
    this.#components = components;
    this.#inTouchAt = components.clock.now();
    this.#commits = new CommitTimes(() => components.clock.now());
  }

  receive(from: PeerId, news: NodeNews): void {
    const lag = this.lagOf(news.applied);
    this.received.set(from, { ...news, at: this.#components.clock.now(), lag });
  }

  /** Of a replica with these positions, now. */
  lagOf(applied: readonly number[]): Lag {
    const committed = this.#components.runtime()?.groups.map((g) => g.raft.commit) ?? [];
    this.#commits.note(sumOf(committed));
    const entries = entriesBehind(committed, applied);
    return { entries, ms: entries === 0 ? 0 : this.#commits.behindMs(sumOf(applied)) };
  }

  /**
   * A member tells that the peer is the member of that id. Without any member in touch the peer is believed: all of them may
   * have been replaced while this node was disconnected, if the others could decide that without it.
   */
  isVouched(id: MemberId, peer: PeerId): boolean {
    const { members } = this.#group.configuration;
    const news = members.flatMap((m) => this.received.get(m.peerId) ?? []);
    const told = news.some((n) => n.members?.some(([known, its]) => known === id && its === peer));
    if (told) return true;
    // Older builds tell no members: with them alone, no one could vouch.
    if (news.length > 0 && news.every((n) => n.members === undefined)) return true;
    return this.#mayAllBeReplaced();
  }

  /** A voter tells that the member leads the shard. Without any in touch, and from older builds, as above. */
  isLeader(shard: ShardId, id: MemberId): boolean {
    const { members, configuration } = this.#group.configuration;
    const { voters, votersOutgoing } = configuration;
    const news = members
      .filter((m) => m.id !== id && (voters.includes(m.id) || votersOutgoing.includes(m.id)))
      .flatMap((m) => this.received.get(m.peerId) ?? []);
    if (news.some(({ leaders }) => leaders?.[shard] === id)) return true;
    if (news.length > 0 && news.every(({ leaders }) => leaders === undefined)) return true;
    return this.#mayAllBeReplaced();
  }

  #mayAllBeReplaced(): boolean {
    const { members, configuration } = this.#group.configuration;
    const { self, clock, transport } = this.#components;
    const others = members.filter((m) => m.peerId !== self);
    const connected = transport.connected();
    if (others.some((m) => connected.includes(m.peerId))) this.#inTouchAt = clock.now();
    if (clock.now() - this.#inTouchAt < ALONE_MS) return false;
    const { voters } = configuration;
    const without = voters.filter((voter) => others.some((m) => m.id === voter)).length;
    return without >= Math.floor(voters.length / 2) + 1;
  }

  isMember(peer: PeerId): boolean {
    return this.#group.memberOf(peer) !== undefined;
  }

  nameOf(peer: PeerId): string {
    return this.#group.memberOf(peer)?.name ?? this.#components.router.hellos.get(peer)?.name ?? peer;
  }

  /** The version of a peer that knows only the messages of release 0.1.0; null: it knows more, or was not met. */
  oldRelease(peer: PeerId): string | null {
    const hello = this.#components.router.hellos.get(peer);
    return hello === undefined || hello.speaks !== undefined ? null : hello.version;
  }

  tell(peer: PeerId, control: Control): void {
    this.#components.transport.send(peer, encodeControl(control), "urgent");
  }

  /** To all connected members. */
  tellAll(control: Control): void {
    for (const peer of this.#components.transport.connected())
      if (this.isMember(peer)) this.tell(peer, control);
  }

  /** To all connected members. `isQuiet`: the same news as the last ones are told only now and then. */
  tellNews(news: NodeNews, isQuiet: boolean): void {
    const now = this.#components.clock.now();
    const text = JSON.stringify(news);
    if (isQuiet && text === this.#told && now - this.#toldAt < SAME_NEWS_MS) return;
    this.#told = text;
    this.#toldAt = now;
    this.tellAll({ kind: "news", ...news });
  }

  /**
   * Names of members that have other functions of the application than this one, as they told last. A member that told nothing
   * since this node started may have none.
   */
  withOtherFunctions(): string[] {
    const { digest } = extensions();
    if (digest === "") return [];
    // While the node opens its files, no peer has told anything.
    if (this.#components.runtime() === null) return ["another node"];
    return this.#others()
      .filter((peer) => (this.received.get(peer)?.functions ?? "") !== digest)
      .map((peer) => this.nameOf(peer));
  }

  /** The versions of SQLite that the applications of other members write with, as they told last. */
  applications(): { readonly node: string; readonly version: number }[] {
    if (this.#components.runtime() === null) return [];
    return this.#others().flatMap((peer) => {
      const version = this.received.get(peer)?.sqlite;
      return version === undefined ? [] : [{ node: this.nameOf(peer), version }];
    });
  }

  #others(): PeerId[] {
    const { self } = this.#components;
    return this.#group.configuration.members.flatMap(({ peerId }) => (peerId === self ? [] : [peerId]));
  }

  /** Pairs of running members that do not reach each other. */
  unreached(): UnreachedPair[] {
    const { self, clock, transport } = this.#components;
    const own = { peerId: self, reaches: transport.connected(), addresses: transport.announced() };
    const { members } = this.#group.configuration;
    const live = liveMembers(members, own, this.received, clock.now());
    const unheard = reachedByOthers(members, live, (peer) => transport.addressesOf(peer));
    return unreachedPairs([...live, ...unheard]);
  }

  get #group(): ShardRuntime["groups"][number] {
    return this.#components.runtime()!.groups[0]!;
  }
}
