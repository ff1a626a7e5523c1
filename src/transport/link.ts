/**
 * The one long-lived stream to a peer: two lanes out, whole messages in. Urgent messages are sent before bulk ones, and
 * between the pieces of a large one. All frames of one turn leave in one write.
 */
import type { Stream } from "@libp2p/interface";
import { EMPTY_BYTES, fromUtf8, utf8 } from "../base/bytes.ts";
import { visible } from "../base/visible.ts";
import type { Lane, PeerTraffic } from "../shard/seams.ts";
import {
  type Frame,
  frame,
  FrameKind,
  frameParser,
  frames,
  FramingError,
  MAX_FRAME_BYTES,
} from "./framing.ts";

/** Bytes that may wait for one peer; further messages are dropped (Raft repeats them). */
const QUEUE_BYTES = 64 << 20;
const STRANGER_QUEUE_BYTES = 4 << 20;
/** Upper limit of one message of a member, and of another peer. */
export const MAX_MESSAGE_BYTES = 1 << 30;
export const MAX_STRANGER_BYTES = 1 << 20;
const MAX_HELLO_BYTES = 16 << 10;
/** Bulk bytes handed to the stream per turn. A small limit keeps the wait of a later urgent message short. */
const BULK_SLICE_BYTES = 256 << 10;
/** Smaller messages get memory of their own. */
const OWN_BYTES = 16 << 10;

export interface LinkHandlers {
  /** Upper limit of one message. */
  maxMessageBytes(): number;
  /** null: accepted; a string: refused, with this reason. */
  onHello(hello: Uint8Array): string | null;
  onMessage(message: Uint8Array): void;
  /** The peer refused this node. */
  onRefused(reason: string): void;
  onClose(): void;
}

type State = "greeting" | "open" | "closed";

export class Link {
  readonly outbound: boolean;
  readonly #stream: Stream;
  readonly #handlers: LinkHandlers;
  #state: State = "greeting";
  #urgent: Frame[] = [];
  #bulk: { message: Uint8Array; at: number }[] = [];
  #queued = 0;
  #scheduled = false;
  #blocked = false;
  #pieces: Uint8Array[] = [];
  #piecesSize = 0;
  #sent = 0;
  #received = 0;
  /** A frame arrived since the last call of `takeHeard`. */
  #heard = true;
  #silentUntil = 0;
  /** A frame was sent since the last call of `alive`. */
  #spoke = false;

  /** Attaches its listeners at once and sends the hello. `outbound`: this node opened the stream. */
  constructor(stream: Stream, outbound: boolean, hello: Uint8Array, handlers: LinkHandlers) {
    this.outbound = outbound;
    this.#stream = stream;
    this.#handlers = handlers;
    const parse = frameParser({
      onFrame: (kind, payload) => this.#onFrame(kind, payload),
      onPiece: (kind, parts, size) => this.#onPiece(parts, size, kind === FrameKind.lastPiece),
    });
    const feed = (bytes: Uint8Array): void => {
      this.#received += bytes.length;
      parse(bytes);
    };
    stream.addEventListener("message", (event) => {
      try {
        const data = event.data;
        if (data instanceof Uint8Array) feed(data);
        else for (const part of data) feed(part);
      } catch (error) {
        this.abort(error instanceof Error ? error : new Error(String(error)));
      }
    });
    stream.addEventListener("drain", () => {
      this.#blocked = false;
      this.#flush();
    });
    stream.addEventListener("close", () => this.#closed());
    this.#urgent.push({ kind: FrameKind.hello, payload: hello });
    this.#schedule();
  }

  get isOpen(): boolean {
    return this.#state === "open";
  }

  get traffic(): PeerTraffic {
    return { sent: this.#sent, received: this.#received };
  }

  /** Whether a frame arrived since the last call. */
  takeHeard(): boolean {
    const heard = this.#heard;
    this.#heard = false;
    return heard;
  }

  /** Until then the peer's silence proves nothing: it said that it is busy. */
  get silentUntil(): number {
    return this.#silentUntil;
  }

  expectSilence(until: number): void {
    this.#silentUntil = Math.max(this.#silentUntil, until);
  }

  /** A frame arrived since the last call of `takeHeard`. */
  get wasHeard(): boolean {
    return this.#heard;
  }

  /** Whether the queue takes a message of that size now. */
  hasRoom(bytes: number): boolean {
    if (this.#state !== "open" || bytes > MAX_MESSAGE_BYTES) return false;
    // A message that is larger than the queue waits there as the only bulk message.
    const isMember = this.#handlers.maxMessageBytes() >= MAX_MESSAGE_BYTES;
    if (!isMember) return this.#queued + bytes <= STRANGER_QUEUE_BYTES;
    return this.#bulk.length === 0 || this.#queued + bytes <= QUEUE_BYTES;
  }

  /** False: the queue is full or the link is closed; the message is dropped. */
  send(message: Uint8Array, lane: Lane): boolean {
    if (!this.hasRoom(message.length)) return false;
    const small = message.length <= MAX_FRAME_BYTES;
    if (small && (lane === "urgent" || this.#bulk.length === 0))
      this.#urgent.push({ kind: FrameKind.message, payload: message });
    else this.#bulk.push({ message, at: 0 });
    this.#queued += message.length;
    this.#schedule();
    return true;
  }

  /** Sends an `alive` frame, unless another frame was sent since the last call. */
  alive(): void {
    const spoke = this.#spoke;
    this.#spoke = false;
    if (spoke || this.#state !== "open" || this.#urgent.length > 0) return;
    this.#urgent.push({ kind: FrameKind.alive, payload: EMPTY_BYTES });
    this.#schedule();
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    queueMicrotask(() => {
      this.#scheduled = false;
      this.#flush();
    });
  }

  #flush(): void {
    while (!this.#blocked && this.#state !== "closed" && this.#stream.writeStatus === "writable") {
      const out = this.#urgent;
      this.#urgent = [];
      let bulk = 0;
      while (this.#bulk.length > 0 && bulk < BULK_SLICE_BYTES) {
        const first = this.#bulk[0]!;
        const piece = first.message.subarray(first.at, first.at + MAX_FRAME_BYTES);
        first.at += piece.length;
        const last = first.at === first.message.length;
        out.push({ kind: last ? FrameKind.lastPiece : FrameKind.piece, payload: piece });
        if (last) this.#bulk.shift();
        bulk += piece.length;
      }
      if (out.length === 0) return;
      this.#queued = Math.max(
        0,
        this.#bulk.reduce((sum, b) => sum + b.message.length - b.at, 0),
      );
      this.#spoke = true;
      const bytes = frames(out);
      this.#sent += bytes.length;
      if (!this.#stream.send(bytes)) this.#blocked = true;
      if (bulk === 0) return;
    }
  }

  #onFrame(kind: number, payload: Uint8Array): void {
    if (this.#state === "closed") return;
    this.#heard = true;
    if (this.#state === "greeting") {
      if (kind === FrameKind.refused) return this.#refusedByPeer(payload);
      if (kind !== FrameKind.hello || payload.length > MAX_HELLO_BYTES)
        throw new FramingError("no hello came first");
      const refusal = this.#handlers.onHello(payload.slice());
      if (refusal !== null) this.refuse(refusal);
      else if (this.#state === "greeting") this.#state = "open";
      return;
    }
    switch (kind) {
      case FrameKind.message:
        // A small view would keep a larger chunk of the network in memory.
        return this.#handlers.onMessage(payload.length < OWN_BYTES ? payload.slice() : payload);
      case FrameKind.alive:
        return;
      case FrameKind.refused:
        return this.#refusedByPeer(payload);
      default:
        throw new FramingError(`a frame of kind ${kind}`);
    }
  }

  #onPiece(parts: readonly Uint8Array[], size: number, isLast: boolean): void {
    if (this.#state === "closed") return;
    if (this.#state === "greeting") throw new FramingError("no hello came first");
    if (!isLast && size < MAX_FRAME_BYTES) throw new FramingError("a short piece before the last one");
    this.#heard = true;
    this.#piecesSize += size;
    const limit = this.#handlers.maxMessageBytes();
    if (this.#piecesSize > limit) throw new FramingError(`a message of over ${limit} bytes`);
    for (const part of parts) this.#pieces.push(part);
    if (!isLast) return;
    const message =
      this.#pieces.length === 1 ? this.#pieces[0]! : Buffer.concat(this.#pieces, this.#piecesSize);
    this.#pieces = [];
    this.#piecesSize = 0;
    this.#handlers.onMessage(message);
  }

  #refusedByPeer(payload: Uint8Array): void {
    this.#handlers.onRefused(visible(fromUtf8(payload.subarray(0, 1000))));
    this.abort(new Error("the peer refused this node"));
  }

  /** Sends the reason to the peer and closes the stream. */
  refuse(reason: string): void {
    if (this.#state === "closed") return;
    this.#stream.send(frame(FrameKind.refused, utf8(reason)));
    this.#closed();
    void this.#stream.close().catch(() => {});
  }

  abort(reason: Error): void {
    if (this.#state !== "closed") this.#stream.abort(reason);
    this.#closed();
  }

  /** Hands the queued frames to the stream and closes it. Resolves when it is closed. */
  async close(): Promise<void> {
    if (this.#state === "closed") return;
    this.#flush();
    this.#closed();
    await this.#stream.close().catch(() => {});
  }

  #closed(): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#urgent = [];
    this.#bulk = [];
    this.#pieces = [];
    this.#queued = 0;
    this.#handlers.onClose();
  }
}

/** Of two streams opened at the same time, the one opened by the smaller id is kept; of two from one side, the newer. */
export const isBetter = (link: Link, than: Link, isSmaller: boolean): boolean =>
  link.outbound === than.outbound || link.outbound === isSmaller;
