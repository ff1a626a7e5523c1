/** Routes the messages of the transport to the current stage: first the join, then the replicator. */
import { fromUtf8 } from "../../base/bytes.ts";
import { MessageKind } from "../../shard/frames.ts";
import { type Epoch, plainEpoch } from "../../shard/epochs.ts";
import type { PeerHello, PeerId, TransportHandlers } from "../../shard/seams.ts";
import {
  type FormatClash,
  formatClash,
  type FormatRanges,
  HELLO_FORMATS,
  UPDATE,
  type UsedFormats,
} from "../../base/versions/formats.ts";
import { formatsOf, ownFormats } from "../formats/told-formats.ts";
import { Refusals } from "./refusals.ts";
import {
  type Control,
  decodeControl,
  decodeHello,
  encodeHello,
  type Hello,
  type Life,
} from "./control-messages.ts";

export interface Stage {
  readonly clusterId: string;
  /** The life of this process as a member; absent while it is none. */
  life?(): Life | null;
  /** The newest epochs of the cluster that this node knows; absent while it joins. */
  epochs?(): readonly Epoch[];
  /** Absent: this node is no member, and any peer will do. */
  usedFormats?(): UsedFormats;
  /** The reason to refuse the peer; null: none. `linkedNonce`: of the peer's process that was accepted last. */
  admit?(peer: PeerHello, hello: Hello, linkedNonce: string | null): string | null;
  /** Whether addresses of this peer may be learned. Absent: of all. */
  knows?(peerId: PeerId): boolean;
  onConnect(peerId: PeerId): void;
  onDisconnect(peerId: PeerId): void;
  onRaft(peerId: PeerId, body: Uint8Array): void;
  onControl(peerId: PeerId, control: Control): void;
  onTransfer(peerId: PeerId, request: string): AsyncIterable<Uint8Array>;
}

/** More than the links that a node has at the same time. */
const MAX_HELLOS = 512;

type Self = Omit<Hello, "clusterId" | "life" | "epochs" | "formats" | "speaks"> & { readonly nonce: string };

/** A node that is told to update halts: the text travels to it. */
const refusalOf = (peer: Hello, self: Self, { older, reason }: FormatClash): string => {
  const [name, version] = older === "peer" ? [peer.name, peer.version] : [self.name, self.version];
  return `${older === "peer" ? UPDATE : "formats"}: ${name} runs marmot ${version}: ${reason}; update ${name}`;
};

/** Why a peer that is no member may not join; null: it may. */
type MayJoin = (peer: PeerId) => string | null;

export interface RouterComponents {
  /** Milliseconds of the node's clock. */
  readonly now: () => number;
  readonly mayJoin: MayJoin;
}

export class MessageRouter implements TransportHandlers {
  /** The last hello of each peer. */
  readonly hellos = new Map<PeerId, Hello>();
  readonly refusals: Refusals;
  readonly #self: Self;
  readonly #mayJoin: MayJoin;
  #stage: Stage | null = null;

  constructor(self: Self, { now, mayJoin }: RouterComponents) {
    this.#self = self;
    this.refusals = new Refusals(now);
    this.#mayJoin = mayJoin;
  }

  /** The caller announces the peers that are already connected to the new stage. */
  enter(stage: Stage): void {
    this.#stage = stage;
  }

  /** Random for this process. */
  get nonce(): string {
    return this.#self.nonce;
  }

  hello(): Uint8Array {
    const life = this.#stage?.life?.() ?? null;
    const clusterId = this.#stage?.clusterId ?? "";
    const epochs = this.#stage?.epochs?.();
    return encodeHello({
      ...this.#self,
      ...{ clusterId, formats: HELLO_FORMATS, speaks: ownFormats() },
      ...(life === null ? {} : { life }),
      ...(epochs === undefined ? {} : { epochs: epochs.map(plainEpoch) }),
    });
  }

  admit(peer: PeerHello): string | null {
    // A connection from before the first stage would never be checked.
    if (this.#stage === null) return "this node is starting";
    const hello = decodeHello(peer.hello);
    const reason = hello === null ? "its hello cannot be read" : this.#refusal(peer, hello, this.#stage);
    if (reason !== null) this.refusals.add(peer.peerId, { name: hello?.name ?? "", by: "this node", reason });
    return reason;
  }

  #refusal(peer: PeerHello, hello: Hello, stage: Stage): string | null {
    const clash = formatClash(formatsOf(hello.speaks), stage.usedFormats?.() ?? {});
    if (clash !== null) return refusalOf(hello, this.#self, clash);
    const { clusterId } = stage;
    if (clusterId !== "" && hello.clusterId !== "" && hello.clusterId !== clusterId)
      return `it belongs to cluster ${hello.clusterId}, this node to cluster ${clusterId}`;
    const refusal =
      this.#refuseNewcomer(peer.peerId, hello) ??
      stage.admit?.(peer, hello, this.hellos.get(peer.peerId)?.nonce ?? null) ??
      null;
    if (refusal === null) this.#remember(peer.peerId, hello);
    return refusal;
  }

  /** The newest hello is the last one. */
  #remember(peer: PeerId, hello: Hello): void {
    this.hellos.delete(peer);
    this.hellos.set(peer, hello);
    if (this.hellos.size <= MAX_HELLOS) return;
    this.hellos.delete([...this.hellos.keys()].find((other) => !this.knows(other)) ?? peer);
  }

  /** A node that joins meets members whom it cannot know, and other nodes that join. */
  #refuseNewcomer(peer: PeerId, { clusterId }: Hello): string | null {
    const isMember = this.#stage?.clusterId === "" ? clusterId !== "" : this.knows(peer);
    return isMember ? null : this.#mayJoin(peer);
  }

  knows(peerId: PeerId): boolean {
    return this.#stage?.knows?.(peerId) ?? true;
  }

  /** A peer tells another life than in its hello, which it sent before it was a member. */
  introduce(peer: PeerId, { life, epochs }: Pick<Hello, "life" | "epochs">): void {
    const hello = this.hellos.get(peer);
    if (hello === undefined) return;
    this.hellos.set(peer, { ...hello, life, ...(epochs === undefined ? {} : { epochs }) });
  }

  onConnect(peer: PeerHello): void {
    this.#stage?.onConnect(peer.peerId);
  }

  onDisconnect(peerId: PeerId): void {
    this.#stage?.onDisconnect(peerId);
  }

  /** The versions that the peer told last; null: it told none to this process. */
  formatsOf(peerId: PeerId): FormatRanges | null {
    const hello = this.hellos.get(peerId);
    return hello === undefined ? null : formatsOf(hello.speaks);
  }

  /** A peer refuses this node. */
  refusedBy(peerId: PeerId, reason: string): void {
    this.refusals.add(peerId, { name: this.hellos.get(peerId)?.name ?? "", by: "peer", reason });
  }

  onMessage(peerId: PeerId, message: Uint8Array): void {
    this.refusals.accepted(peerId);
    const body = message.subarray(1);
    if (message[0] === MessageKind.raft) this.#stage?.onRaft(peerId, body);
    else if (message[0] === MessageKind.control) {
      const control = decodeControl(body);
      if (control !== null) this.#stage?.onControl(peerId, control);
    } else throw new Error(`a message of kind ${String(message[0])}`);
  }

  async *onTransfer(peerId: PeerId, request: Uint8Array): AsyncIterable<Uint8Array> {
    if (this.#stage === null) throw new Error("this node is not ready for transfers");
    yield* this.#stage.onTransfer(peerId, fromUtf8(request));
  }
}
