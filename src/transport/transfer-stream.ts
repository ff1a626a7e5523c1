/** Bulk transfers, each on its own stream: a request, chunks with backpressure in both directions, and an end or a reason. */
import type { Stream } from "@libp2p/interface";
import { fromUtf8, utf8 } from "../base/bytes.ts";
import type { Clock } from "../base/clock.ts";
import { visible } from "../base/visible.ts";
import { errorMessage } from "../base/errors.ts";
import { frame, FrameKind, frameParser, FramingError, MAX_FRAME_BYTES } from "./framing.ts";

/** A transfer over which nothing arrives, or nothing leaves, for this long is aborted. */
const STALL_MS = 30_000;
/** The stream is paused above this many received bytes that the caller has not taken. */
const PAUSE_ABOVE_BYTES = 2 << 20;

/** The transfer ended before it was complete. */
export class TransferError extends Error {
  override name = "TransferError";
}

const listen = (stream: Stream, feed: (chunk: Uint8Array) => void, onError: (error: Error) => void): void => {
  stream.addEventListener("message", (event) => {
    try {
      if (event.data instanceof Uint8Array) feed(event.data);
      else for (const part of event.data) feed(part);
    } catch (error) {
      onError(error instanceof Error ? error : new Error(String(error)));
    }
  });
};

/** Serves the one request of `stream`. Never throws. */
export function serveTransfer(
  stream: Stream,
  clock: Clock,
  answer: (request: Uint8Array) => AsyncIterable<Uint8Array>,
): void {
  let requested = false;
  const onFrame = (kind: number, payload: Uint8Array): void => {
    if (requested || kind !== FrameKind.request) throw new FramingError("a transfer begins with one request");
    requested = true;
    void sendAll(stream, clock, answer(payload.slice()));
  };
  const feed = frameParser({ onFrame });
  listen(stream, feed, (error) => stream.abort(error));
}

async function sendAll(stream: Stream, clock: Clock, chunks: AsyncIterable<Uint8Array>): Promise<void> {
  try {
    for await (const chunk of chunks) {
      if (stream.status !== "open") return;
      if (chunk.length > MAX_FRAME_BYTES) throw new TransferError(`a chunk of ${chunk.length} bytes`);
      // An empty chunk keeps the transfer alive while the sender waits.
      const kind = chunk.length === 0 ? FrameKind.alive : FrameKind.chunk;
      if (!stream.send(frame(kind, chunk))) await drained(stream, clock);
    }
    stream.send(frame(FrameKind.end, new Uint8Array(0)));
    await stream.close();
  } catch (error) {
    if (stream.status !== "open") return;
    stream.send(frame(FrameKind.failed, utf8(errorMessage(error).slice(0, 1000))));
    await stream.close().catch(() => {});
  }
}

/** Resolves at the stream's drain event; rejects when it closes or stalls. */
function drained(stream: Stream, clock: Clock): Promise<void> {
  return new Promise((resolve, reject) => {
    const end = (error?: Error): void => {
      timer.cancel();
      stream.removeEventListener("drain", onDrain);
      stream.removeEventListener("close", onClose);
      if (error === undefined) resolve();
      else reject(error);
    };
    const onDrain = (): void => end();
    const onClose = (): void => end(new TransferError("the receiver closed the stream"));
    const timer = clock.after(STALL_MS, () => {
      stream.abort(new TransferError("the receiver stalls"));
      end(new TransferError("the receiver stalls"));
    });
    stream.addEventListener("drain", onDrain);
    stream.addEventListener("close", onClose);
  });
}

/** Sends `request` and yields the chunks of the answer. Throws `TransferError`. */
export async function* receiveTransfer(
  stream: Stream,
  clock: Clock,
  request: Uint8Array,
  signal: AbortSignal,
): AsyncIterable<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let waiting = 0;
  let done = false;
  let failure: Error | null = null;
  let wake: (() => void) | null = null;
  const notify = (): void => {
    wake?.();
    wake = null;
  };
  const fail = (error: Error): void => {
    failure ??= error;
    notify();
  };
  const onFrame = (kind: number, payload: Uint8Array): void => {
    if (kind === FrameKind.chunk) {
      chunks.push(payload.slice());
      waiting += payload.length;
      if (waiting > PAUSE_ABOVE_BYTES) queueMicrotask(() => waiting > PAUSE_ABOVE_BYTES && stream.pause());
    } else if (kind === FrameKind.end) done = true;
    else if (kind === FrameKind.alive) return notify();
    else if (kind === FrameKind.failed)
      failure ??= new TransferError(`the sender stopped: ${visible(fromUtf8(payload.subarray(0, 1000)))}`);
    else throw new FramingError(`a frame of kind ${kind}`);
    notify();
  };
  const feed = frameParser({ onFrame });
  listen(stream, feed, fail);
  stream.addEventListener("close", () => fail(new TransferError("the sender closed the stream")));
  const onAbort = (): void => fail(new TransferError("the transfer was cancelled"));
  signal.addEventListener("abort", onAbort);
  try {
    stream.send(frame(FrameKind.request, request));
    for (;;) {
      const chunk = chunks.shift();
      if (chunk !== undefined) {
        waiting -= chunk.length;
        if (waiting <= PAUSE_ABOVE_BYTES / 2 && stream.readStatus === "paused") stream.resume();
        yield chunk;
        continue;
      }
      if (done) return;
      if (failure !== null) throw failure as Error;
      await new Promise<void>((resolve) => {
        const timer = clock.after(STALL_MS, () => fail(new TransferError("the sender stalls")));
        wake = () => {
          timer.cancel();
          resolve();
        };
      });
    }
  } finally {
    signal.removeEventListener("abort", onAbort);
    if (done) void stream.close().catch(() => {});
    else stream.abort(new TransferError("the receiver is done"));
  }
}

/** The transfers that run at the same time, for each peer. */
export class TransferSlots {
  readonly #most: number;
  readonly #running = new Map<string, number>();

  constructor(most: number) {
    this.#most = most;
  }

  /** False: the peer has as many as it may. */
  take(peer: string): boolean {
    const running = this.#running.get(peer) ?? 0;
    if (running >= this.#most) return false;
    this.#running.set(peer, running + 1);
    return true;
  }

  give(peer: string): void {
    const left = (this.#running.get(peer) ?? 1) - 1;
    if (left > 0) this.#running.set(peer, left);
    else this.#running.delete(peer);
  }
}
