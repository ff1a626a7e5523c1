/** Routes the messages of the transport to the current stage: first the join, then the replicator. */
import { fromUtf8 } from "../base/bytes.ts";
import { MessageKind } from "../shard/frames.ts";
import type { PeerHello, PeerId, TransportHandlers } from "../shard/seams.ts";
import { type Control, decodeControl, decodeHello, encodeHello, type Hello } from "./control-messages.ts";

export interface Stage {
  readonly clusterId: string;
  onConnect(peerId: PeerId): void;
  onDisconnect(peerId: PeerId): void;
  onRaft(peerId: PeerId, body: Uint8Array): void;
  onControl(peerId: PeerId, control: Control): void;
  onTransfer(peerId: PeerId, request: string): AsyncIterable<Uint8Array>;
}

export class MessageRouter implements TransportHandlers {
  /** The last hello of each peer. */
  readonly hellos = new Map<PeerId, Hello>();
  readonly #self: Omit<Hello, "clusterId">;
  #stage: Stage | null = null;

  constructor(self: Omit<Hello, "clusterId">) {
    this.#self = self;
  }

  /** The caller announces the peers that are already connected to the new stage. */
  enter(stage: Stage): void {
    this.#stage = stage;
  }

  hello(): Uint8Array {
    return encodeHello({ ...this.#self, clusterId: this.#stage?.clusterId ?? "" });
  }

  admit(peer: PeerHello): string | null {
    const hello = decodeHello(peer.hello);
    if (hello === null) return "its hello cannot be read";
    const own = this.#self.formats;
    if (hello.formats.some((format, i) => format !== own[i]))
      return `its formats are ${hello.formats.join(", ")}, this node's are ${own.join(", ")}: update the older one`;
    const clusterId = this.#stage?.clusterId ?? "";
    if (clusterId !== "" && hello.clusterId !== "" && hello.clusterId !== clusterId)
      return `it belongs to cluster ${hello.clusterId}, this node to cluster ${clusterId}`;
    this.hellos.set(peer.peerId, hello);
    return null;
  }

  onConnect(peer: PeerHello): void {
    this.#stage?.onConnect(peer.peerId);
  }

  onDisconnect(peerId: PeerId): void {
    this.#stage?.onDisconnect(peerId);
  }

  onMessage(peerId: PeerId, message: Uint8Array): void {
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
