/** One stream to a peer: large messages go in pieces, and urgent ones between them. */
import { expect, test } from "bun:test";
import type { Stream } from "@libp2p/interface";
import { frame, FrameKind, frameParser } from "../../src/transport/framing.ts";
import { Link, MAX_MESSAGE_BYTES } from "../../src/transport/link.ts";

/** A stream that takes one write at a time, as a slow network does. */
class SlowStream extends EventTarget {
  readonly frames: { kind: number; bytes: number }[] = [];
  writeStatus = "writable";
  readonly #feed = frameParser({
    onFrame: (kind, payload) => this.frames.push({ kind, bytes: payload.length }),
  });

  send(bytes: Uint8Array): boolean {
    this.#feed(bytes);
    this.writeStatus = "paused";
    return false;
  }

  drain(): void {
    this.writeStatus = "writable";
    this.dispatchEvent(new Event("drain"));
  }

  receive(bytes: Uint8Array): void {
    this.dispatchEvent(Object.assign(new Event("message"), { data: bytes }));
  }

  abort(): void {}
}

function open(): { link: Link; stream: SlowStream; messages: Uint8Array[] } {
  const stream = new SlowStream();
  const messages: Uint8Array[] = [];
  const link = new Link(stream as unknown as Stream, true, new Uint8Array(1), {
    onHello: () => null,
    maxMessageBytes: () => MAX_MESSAGE_BYTES,
    onMessage: (message) => messages.push(message),
    onRefused: () => {},
    onClose: () => {},
  });
  stream.receive(frame(FrameKind.hello, new Uint8Array(1)));
  return { link, stream, messages };
}

test("a message above the size of the queue is taken when the queue is empty, and nothing beside it", async () => {
  const { link, stream } = open();
  await Promise.resolve();
  expect(link.send(new Uint8Array(100 << 20), "bulk")).toBe(true);
  expect(link.send(new Uint8Array(1 << 20), "bulk")).toBe(false);
  for (let i = 0; i < 500; i++) stream.drain();
  const pieces = stream.frames.filter(({ kind }) => kind === FrameKind.piece || kind === FrameKind.lastPiece);
  expect(pieces.reduce((sum, { bytes }) => sum + bytes, 0)).toBe(100 << 20);
  expect(link.send(new Uint8Array(1 << 20), "bulk")).toBe(true);
});

test("an urgent message leaves before the next piece of a large one", async () => {
  const { link, stream } = open();
  await Promise.resolve();
  link.send(new Uint8Array(10 << 20), "bulk");
  for (let i = 0; i < 5; i++) stream.drain();
  const before = stream.frames.length;
  expect(link.send(new Uint8Array(10), "urgent")).toBe(true);
  stream.drain();
  expect(stream.frames[before]).toEqual({ kind: FrameKind.message, bytes: 10 });
  expect(stream.frames[before + 1]!.kind).toBe(FrameKind.piece);
});

test("a message of 100 MB arrives whole", () => {
  const { stream, messages } = open();
  const piece = frame(FrameKind.piece, new Uint8Array(256 << 10));
  for (let i = 0; i < 399; i++) stream.receive(piece);
  stream.receive(frame(FrameKind.lastPiece, new Uint8Array(256 << 10)));
  expect(messages.map((m) => m.length)).toEqual([100 << 20]);
});
