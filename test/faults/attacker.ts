/** A process that holds the cluster key and does not keep to the protocol. It speaks libp2p as nodes do. */
import type { Stream } from "@libp2p/interface";
import { generateKeyPair } from "@libp2p/crypto/keys";
import { PeerRecord, RecordEnvelope } from "@libp2p/peer-record";
import { peerIdFromPrivateKey } from "@libp2p/peer-id";
import { multiaddr } from "@multiformats/multiaddr";
import type { Libp2p } from "libp2p";
import { asPeerId, type PeerId } from "../../src/base/ids.ts";
import {
  type Control,
  decodeControl,
  encodeControl,
  encodeHello,
} from "../../src/replication/messages/control-messages.ts";
import { MessageKind, withKind } from "../../src/shard/frames.ts";
import { encodeMessages, type GroupMessage } from "../../src/shard/wire.ts";
import { RECORDS } from "../../src/transport/discovery.ts";
import { createNode, gossipOf } from "../../src/transport/libp2p/create-node.ts";
import { frame, FrameKind } from "../../src/transport/framing.ts";
import { Link, MAX_MESSAGE_BYTES } from "../../src/transport/link.ts";
import { privateNetwork } from "../../src/transport/private-network.ts";

const RAFT_PROTOCOL = "/marmot/raft/1";
const TRANSFER_PROTOCOL = "/marmot/transfer/1";
const FORMATS = [1, 2, 1] as const;

export interface AttackerOptions {
  readonly clusterKey: Uint8Array;
  readonly target: string;
  readonly name: string;
}

export class Attacker {
  readonly peerId: PeerId;
  readonly heard: Control[] = [];
  /** Raft messages that nodes sent. */
  readonly recorded: Uint8Array[] = [];
  refusal: string | null = null;
  isOpen = false;
  readonly #node: Libp2p;
  readonly #options: AttackerOptions;
  #link: Link | null = null;

  private constructor(node: Libp2p, options: AttackerOptions) {
    this.#node = node;
    this.#options = options;
    this.peerId = asPeerId(node.peerId.toString());
  }

  static async start(options: AttackerOptions): Promise<Attacker> {
    const handlers = { keyFor: () => 0, onReached: () => {}, onStranger: () => {} };
    const node = await createNode({
      privateKey: await generateKeyPair("Ed25519"),
      listen: [],
      announce: [],
      mdns: false,
      topic: RECORDS,
      dialTimeoutMs: 10_000,
      connectionProtector: privateNetwork([options.clusterKey], handlers),
    });
    // A replica that never comes, kept alive.
    await node.handle(TRANSFER_PROTOCOL, (stream) => {
      const timer = setInterval(() => {
        if (stream.status === "open") stream.send(frame(FrameKind.alive, new Uint8Array(0)));
        else clearInterval(timer);
      }, 200);
    });
    await node.start();
    return new Attacker(node, options);
  }

  /** Opens a stream with a hello. `clusterId`: as a member tells it; "": as a node that joins. */
  async connect(clusterId: string): Promise<void> {
    const connection = await this.#node.dial(multiaddr(this.#options.target), {
      signal: AbortSignal.timeout(10_000),
    });
    const stream: Stream = await connection.newStream(RAFT_PROTOCOL, { signal: AbortSignal.timeout(10_000) });
    const nonce = crypto.randomUUID();
    const hello = {
      clusterId,
      name: this.#options.name,
      version: "0",
      role: "voter",
      formats: [...FORMATS],
      nonce,
    };
    this.#link = new Link(stream, true, encodeHello(hello as never), {
      maxMessageBytes: () => MAX_MESSAGE_BYTES,
      onHello: () => {
        this.isOpen = true;
        return null;
      },
      onMessage: (message) => this.#onMessage(message),
      onRefused: (reason) => {
        this.refusal = reason;
      },
      onClose: () => {
        this.isOpen = false;
      },
    });
  }

  #onMessage(message: Uint8Array): void {
    const body = message.subarray(1);
    if (message[0] === MessageKind.raft) this.recorded.push(body);
    else {
      const control = decodeControl(body);
      if (control !== null) this.heard.push(control);
    }
  }

  send(control: Control): boolean {
    return this.#link?.send(encodeControl(control), "urgent") ?? false;
  }

  raft(messages: readonly GroupMessage[]): boolean {
    return this.raw(MessageKind.raft, encodeMessages(messages));
  }

  raw(kind: number, body: Uint8Array): boolean {
    return this.#link?.send(withKind(kind as never, body), "urgent") ?? false;
  }

  subscribe(topics: number): void {
    const gossip = gossipOf(this.#node);
    for (let i = 0; i < topics; i++) gossip.subscribe(`topic/${i}/${"x".repeat(40)}`);
  }

  /** Publishes signed records of invented peers with invented addresses. */
  async publishRecords(count: number): Promise<void> {
    for (let i = 0; i < count; i++) {
      const key = await generateKeyPair("Ed25519");
      const multiaddrs = [1, 2, 3, 4, 5].map((n) =>
        multiaddr(`/ip4/127.0.${i % 250}.${n}/tcp/${9000 + (i % 900)}`),
      );
      const record = new PeerRecord({
        peerId: peerIdFromPrivateKey(key),
        multiaddrs,
        seqNumber: BigInt(Date.now()),
      });
      const envelope = await RecordEnvelope.seal(record, key);
      await gossipOf(this.#node)
        .publish(RECORDS, envelope.marshal())
        .catch(() => {});
    }
  }

  async stop(): Promise<void> {
    this.#link?.abort(new Error("done"));
    await this.#node.stop();
  }
}
