/** When a stream tells its sender that there is room again. */
import { expect, test } from "bun:test";
import { deferWindowUpdates, hasWindow } from "../../src/transport/libp2p/window-updates.ts";

const [SYN_RECEIVED, ESTABLISHED] = [2, 3];

/** A stream with a window of 100 bytes, and the updates that it sent. */
class FakeStream {
  state = ESTABLISHED;
  readonly recvWindow = 100;
  recvWindowCapacity = 100;
  readonly updates: number[] = [];

  receive(bytes: number): void {
    this.recvWindowCapacity -= bytes;
    this.sendWindowUpdate();
  }

  sendWindowUpdate(): void {
    this.updates.push(this.recvWindow - this.recvWindowCapacity);
    this.recvWindowCapacity = this.recvWindow;
  }
}

function deferred(state = ESTABLISHED): FakeStream {
  const stream = new FakeStream();
  stream.state = state;
  deferWindowUpdates(stream);
  return stream;
}

test("small data is answered with one update for half of the window", () => {
  const stream = deferred();
  for (let i = 0; i < 25; i++) stream.receive(10);
  expect(stream.updates).toEqual([50, 50, 50, 50, 50]);
});

test("data that uses up the window is answered at once: the sender waits for that", () => {
  const stream = deferred();
  stream.receive(10);
  stream.receive(90);
  stream.receive(100);
  expect(stream.updates).toEqual([100, 100]);
});

test("the first update goes out at once: it tells the sender that the stream is taken", () => {
  const stream = deferred(SYN_RECEIVED);
  stream.receive(1);
  stream.state = ESTABLISHED;
  stream.receive(1);
  expect(stream.updates).toEqual([1]);
});

test("a stream without windows stays as it is", () => {
  expect([hasWindow(new FakeStream()), hasWindow({})]).toEqual([true, false]);
});
