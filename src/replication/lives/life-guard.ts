/** Tells peers the life of this node, and checks the lives that they tell: see `hello-check.ts`. */
import type { Clock } from "../../base/clock.ts";
import type { PeerMemory } from "../../log-store/peer-memory.ts";
import type { MemberId } from "../../raft/model/types.ts";
import type { ShardRuntime } from "../../shard/runtime.ts";
import { votesIn } from "../../shard/cluster-members.ts";
import type { PeerHello, PeerId } from "../../shard/seams.ts";
import { asPeerId } from "../../base/ids.ts";
import { type Hello, type Life, MAX_LIVES, type NodeNews } from "../messages/control-messages.ts";
import { checkLife, refusalText } from "./hello-check.ts";

/** Not a refusal code: the peer connects again after a pause. */
const COME_BACK = "the last connection of this node is still open; try again";
/** Processes that were asked to come back; more are not remembered. */
const MAX_DEFERRED = 1000;
/** Peers whose last accepted process is remembered. */
const MAX_ACCEPTED = 1000;

export interface LifeGuardComponents {
  readonly clock: Clock;
  readonly runtime: ShardRuntime;
  readonly peers: PeerMemory;
  readonly member: MemberId;
  readonly nonce: string;
  readonly self: PeerId;
  /** The newest incarnation that this process has opened; 0: none. */
  readonly incarnation: () => number;
  /** A process with the identity of a connected peer was refused. */
  readonly onTwin: (peer: PeerId) => void;
}

export class LifeGuard {
  readonly #components: LifeGuardComponents;
  /** Nonce and time of the processes that were asked to come back. */
  readonly #deferred = new Map<string, number>();
  readonly #refused = new Set<PeerId>();
  /** The nonce of each peer's process that this node accepted last. */
  readonly #accepted = new Map<PeerId, string>();

  constructor(components: LifeGuardComponents) {
    this.#components = components;
  }

  /** null before the first incarnation is on disk. */
  life(): Life | null {
    const { runtime, member, nonce, incarnation } = this.#components;
    if (incarnation() === 0) return null;
    const logs = runtime.groups.map(({ log }) => ({ term: log.hardState.term, lastIndex: log.lastIndex() }));
    return { member, incarnation: incarnation(), nonce, logs };
  }

  /** Nothing that the peer sends counts any more. */
  isRefused(peer: PeerId): boolean {
    return this.#refused.has(peer);
  }

  /** The reason of a refusal; null: the peer may speak. `linkedNonce`: of the last process that was accepted. */
  admit({ peerId, otherLinkSilentMs }: PeerHello, hello: Hello, linkedNonce: string | null): string | null {
    const nonce = hello.nonce ?? hello.life?.nonce;
    if (nonce === undefined) return null;
    const linked =
      otherLinkSilentMs === null || linkedNonce === null
        ? null
        : { nonce: linkedNonce, silentMs: otherLinkSilentMs };
    return this.#check(peerId, { nonce, life: hello.life ?? null }, linked);
  }

  /** The peer tells a new life over its open connection. */
  changed(peerId: PeerId, life: Life): string | null {
    const reason = this.#check(peerId, { nonce: life.nonce, life }, null);
    if (reason !== null && this.#refused.size < MAX_ACCEPTED) this.#refused.add(peerId);
    return reason;
  }

  #check(
    peerId: PeerId,
    { nonce, life }: { readonly nonce: string; readonly life: Life | null },
    linked: { readonly nonce: string; readonly silentMs: number } | null,
  ): string | null {
    const { clock, peers, onTwin } = this.#components;
    const deferredAt = this.#deferred.get(nonce);
    const verdict = checkLife(nonce, life, {
      known: peers.get(peerId),
      accepted: this.#accepted.get(peerId) ?? null,
      linked,
      deferredMs: deferredAt === undefined ? null : clock.now() - deferredAt,
      isRemoved: (one) => this.isRemoved(one),
      keepsPromises: (one) => this.#keepsPromises(one),
    });
    if (verdict === "later") {
      if (deferredAt === undefined && this.#deferred.size < MAX_DEFERRED)
        this.#deferred.set(nonce, clock.now());
      return COME_BACK;
    }
    this.#deferred.delete(nonce);
    if (verdict === "twice") onTwin(peerId);
    if (verdict !== null) return refusalText(verdict);
    this.#refused.delete(peerId);
    // The promises of a member are its own if the same process was admitted: its life may arrive after its first answers.
    const isMember = this.#isMember(peerId);
    if (life !== null || !isMember) this.#accept(peerId, nonce);
    // An invented life of a peer that is no member costs no write. A member that this node does not know yet is checked again.
    if (life !== null && isMember) peers.remember(peerId, life);
    return null;
  }

  #isMember(peerId: PeerId): boolean {
    return this.#components.runtime.groups[0]!.memberOf(peerId) !== undefined;
  }

  #accept(peerId: PeerId, nonce: string): void {
    this.#accepted.delete(peerId);
    this.#accepted.set(peerId, nonce);
    if (this.#accepted.size <= MAX_ACCEPTED) return;
    const oldest = [...this.#accepted.keys()].find((peer) => !this.#isMember(peer));
    if (oldest !== undefined) this.#accepted.delete(oldest);
  }

  /**
   * A member's id is the index of its admission: an id up to the applied configuration that is not in it has left. As long as
   * it votes in a group that has not followed yet, its votes may be needed there.
   */
  isRemoved({ member }: Pick<Life, "member">): boolean {
    const { groups } = this.#components.runtime;
    const { index, members } = groups[0]!.configuration;
    return member <= index && members.every(({ id }) => id !== member) && !votesIn(groups, member);
  }

  #keepsPromises({ member, logs }: Life): boolean {
    return this.#components.runtime.groups.every(({ acknowledged, shard }) => {
      const end = logs[shard];
      return end !== undefined && acknowledged.isKeptBy(member, end);
    });
  }

  /** For peers: a member that they did not meet in its last life may come back without it. */
  known(): NonNullable<NodeNews["lives"]> {
    const { peers, runtime } = this.#components;
    return runtime.groups[0]!.configuration.members.slice(0, MAX_LIVES).flatMap(({ peerId }) => {
      const life = peers.get(peerId);
      return life === null ? [] : [[peerId, life.member, life.incarnation, life.nonce] as const];
    });
  }

  /** Takes over the lives that a member has met. Returns the peers of which one was later than the known one. */
  learn(by: PeerId, lives: NonNullable<NodeNews["lives"]>): PeerId[] {
    const { peers, runtime, self } = this.#components;
    const group = runtime.groups[0]!;
    if (group.memberOf(by) === undefined) return [];
    return lives.flatMap(([id, member, incarnation, nonce]) => {
      const peer = asPeerId(id);
      if (peer === self || group.memberOf(peer) === undefined) return [];
      return peers.remember(peer, { member, incarnation, nonce }) ? [peer] : [];
    });
  }

  /** The peer has these positions applied, which its log has on disk. */
  hears(peer: PeerId, applied: readonly number[]): void {
    for (const group of this.#components.runtime.groups) {
      const member = group.memberOf(peer)?.id;
      if (member !== undefined) group.acknowledged.has(member, applied[group.shard] ?? 0);
    }
  }
}
