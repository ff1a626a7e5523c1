/** Answers the messages of the peers, and refuses peers whose life is not acceptable. */
import type { UsedFormats } from "../base/versions/formats.ts";
import type { Logger } from "../base/logger.ts";
import type { OpenReplica } from "../replica/open-replica.ts";
import type { ShardRuntime } from "../shard/runtime.ts";
import type { Epoch } from "../shard/epochs.ts";
import type { PeerHello, PeerId } from "../shard/seams.ts";
import type { EventLoop } from "./event-loop.ts";
import type { BusyPeers } from "./busy-peers.ts";
import type { MemberChanges } from "./members/member-changes.ts";
import type { PeerNews } from "./peer-news.ts";
import type { Control, FileCheck, Hello, Life, NodeNews } from "./messages/control-messages.ts";
import { Followers } from "./epochs/followers.ts";
import type { EpochGuard } from "./epochs/epoch-guard.ts";
import type { PeerLives } from "./lives/peer-lives.ts";
import type { Stage } from "./messages/message-router.ts";
import type { SnapshotExchange } from "./snapshots/snapshot-exchange.ts";

export interface PeerMessagesComponents {
  readonly replica: OpenReplica;
  readonly runtime: ShardRuntime;
  readonly loop: EventLoop;
  readonly logger: Logger;
  readonly peers: PeerNews;
  readonly lives: PeerLives;
  readonly epochs: EpochGuard;
  readonly members: MemberChanges;
  readonly snapshots: SnapshotExchange;
  readonly busyPeers: BusyPeers;
  readonly ownNews: () => NodeNews;
  /** A peer refuses this node over an open connection. */
  readonly onRefused: (peer: PeerId, reason: string) => void;
}

/** Messages that count although the peer is no member, as far as this node knows. */
const FOR_ALL: ReadonlySet<Control["kind"]> = new Set([
  "join",
  "leave",
  "life",
  "received",
  "refused",
  "changed",
  // Each epoch is signed.
  "epochs",
  "follow",
]);

export class PeerMessages implements Stage {
  readonly clusterId: string;
  /** Set by a request that changes a member: receives the answers of the leader. */
  onChanged: ((control: Extract<Control, { kind: "changed" }>) => void) | null = null;
  /** Set by `verify`: receives the checksums that peers report. */
  onSums: ((from: PeerId, control: Extract<Control, { kind: "sums" }>) => void) | null = null;
  /** Set by `verify`: receives the state of a peer's comparison. */
  onFile: ((from: PeerId, control: Extract<Control, { kind: "file" }>) => void) | null = null;
  /** Set by the node: begins the comparison of this node's file, or tells how far it has come; null: it cannot be done. */
  onFileAsked: ((note: string) => FileCheck) | null = null;
  readonly #components: PeerMessagesComponents;
  readonly #followers: Followers;

  constructor(components: PeerMessagesComponents) {
    this.#components = components;
    const { runtime, lives } = components;
    this.#followers = new Followers({
      self: runtime.peerId,
      groups: () => runtime.groups,
      life: () => lives.own(),
      onRefused: (peer) => {
        const member = runtime.groups[0]!.memberOf(peer);
        if (member !== undefined) runtime.membership.remove(member);
      },
    });
    this.clusterId = components.replica.replica.settings.clusterId;
  }

  life(): Life | null {
    return this.#components.lives.own();
  }

  epochs(): readonly Epoch[] {
    return this.#components.epochs.own;
  }

  usedFormats(): UsedFormats {
    return this.#components.replica.replica.usedFormats;
  }

  admit(peer: PeerHello, hello: Hello, linkedNonce: string | null): string | null {
    return this.#components.lives.admit(peer, hello, linkedNonce);
  }

  /** Records of others are invented, or of nodes that connect by themselves. */
  knows(peer: PeerId): boolean {
    return this.#components.peers.isMember(peer);
  }

  /** Takes over connections that were opened before this node was a member, or while its files were closed. */
  takeOver(peers: readonly PeerId[]): void {
    for (const peer of peers) {
      this.#components.lives.checkAgain(peer);
      this.onConnect(peer);
    }
    if (peers.length > 0) this.#components.lives.tell();
  }

  onConnect(peerId: PeerId): void {
    const { logger, peers, loop, ownNews } = this.#components;
    logger.debug("connected", { peer: peers.nameOf(peerId) });
    if (peers.isMember(peerId)) peers.tell(peerId, { kind: "news", ...ownNews() });
    loop.wake();
  }

  onDisconnect(peerId: PeerId): void {
    this.#components.logger.debug("disconnected", { peer: this.#components.peers.nameOf(peerId) });
    this.#components.busyPeers.heard(peerId, 0);
  }

  onRaft(peerId: PeerId, body: Uint8Array): void {
    const { lives, runtime, loop } = this.#components;
    if (lives.isRefused(peerId)) return;
    loop.catchUp();
    runtime.receive(peerId, body);
    loop.wake();
  }

  onControl(peerId: PeerId, control: Control): void {
    const { lives, members, snapshots, peers, ownNews } = this.#components;
    if (!FOR_ALL.has(control.kind) && !peers.isMember(peerId)) return;
    const answer = (message: Control): void => peers.tell(peerId, message);
    switch (control.kind) {
      case "join":
      case "leave":
      case "change":
      case "promote":
      case "forward":
        members.onRequest(peerId, control, answer);
        return this.#components.loop.wake();
      case "changed":
        return this.onChanged?.(control);
      case "tell":
        return answer({ kind: "news", ...ownNews() });
      case "life":
        return lives.onLife(peerId, control);
      case "refused":
        return this.#components.onRefused(peerId, control.reason);
      case "busy":
        return this.#components.busyPeers.heard(peerId, control.ms);
      case "epochs":
        return lives.onEpochs(peerId, control.epochs);
      case "follow":
        answer(this.#followers.answer(peerId, control));
        return this.#components.loop.wake();
      case "twin":
        return lives.onTwin();
      case "news":
        return this.#onNews(peerId, control);
      case "sums?":
        return answer({ kind: "sums", note: control.note, shards: this.checks(control.note) });
      case "sums":
        return this.onSums?.(peerId, control);
      case "received":
        return snapshots.served(peerId);
      case "file?": {
        const check = this.onFileAsked?.(control.note);
        if (check !== undefined) answer({ kind: "file", note: control.note, ...check });
        return;
      }
      case "file":
        return this.onFile?.(peerId, control);
      case "joined":
      case "followed":
      case "meet":
        return;
    }
  }

  #onNews(peerId: PeerId, news: Extract<Control, { kind: "news" }>): void {
    const { lives, peers, snapshots, runtime } = this.#components;
    lives.onNews(peerId, news);
    peers.receive(peerId, news);
    snapshots.served(peerId);
    snapshots.holds.heard(
      peerId,
      news.applied,
      runtime.groups.map((g) => g.log.lastIndex()),
    );
  }

  /** The checksums that this node recorded for a check entry, per shard; null: the entry is not applied yet, or the replica is incomplete. */
  checks(note: string): ({ index: number; sums: [number, string][] } | null)[] {
    const { runtime, replica } = this.#components;
    // The sums of tables without rows say nothing.
    const isWhole = replica.replica.completion.tables.size === 0;
    return runtime.groups.map((g) => (isWhole ? replica.replica.check(note, g.shard) : null));
  }

  onTransfer(peerId: PeerId, request: string): AsyncIterable<Uint8Array> {
    if (!this.#components.peers.isMember(peerId)) throw new Error("only members receive the replica");
    return this.#components.snapshots.send(peerId, request);
  }
}
