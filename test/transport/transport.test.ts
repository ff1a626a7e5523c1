import { asPeerId } from "../../src/base/ids.ts";
import { afterEach, expect, test } from "bun:test";
import { connect, createServer } from "node:net";
import { generateKeyPair } from "@libp2p/crypto/keys";
import { multiaddr } from "@multiformats/multiaddr";
import { tcp } from "../../src/transport/libp2p/tcp.ts";
import { KEY, linked, peer, type TestPeer, until } from "./lab.ts";

const running: TestPeer[] = [];
const start = async (...args: Parameters<typeof peer>): Promise<TestPeer> => {
  const node = await peer(...args);
  running.push(node);
  return node;
};
afterEach(async () => {
  await Promise.all(running.splice(0).map((n) => n.transport.stop()));
});

/** Bytes of the memory that the private network's cipher works in. */
async function cipherMemory(): Promise<number> {
  type Cipher = new (nonce: Uint8Array, key: Uint8Array) => { _xor: { _memory: Uint8Array } };
  const { default: Cipher } = (await import("xsalsa20" as string)) as { default: Cipher };
  return new Cipher(new Uint8Array(24), new Uint8Array(32))._xor._memory.length;
}

const bytes = (length: number, fill: number): Uint8Array => new Uint8Array(length).fill(fill);

test("two nodes exchange hellos, and messages of every size arrive whole and in order", async () => {
  const a = await start();
  const b = await start({ peers: a.transport.addresses() });
  await until(() => linked(a, b), "linked");
  expect(new TextDecoder().decode(a.connects[0]!.hello)).toBe(`hello of ${b.transport.peerId}`);
  const sizes = [1, 1188, 1200, 2000, 65_536, 262_144, 262_145, 1 << 20, 5 << 20];
  sizes.forEach((size, i) => expect(a.transport.send(b.transport.peerId, bytes(size, i), "bulk")).toBe(true));
  await until(() => b.messages.length === sizes.length, "all messages");
  expect(b.messages.map((m) => m.bytes.length).sort((x, y) => x - y)).toEqual(sizes);
  for (const { bytes: got } of b.messages) expect(got.every((x) => x === got[0])).toBe(true);
  const large = b.messages.filter((m) => m.bytes.length > 262_144).map((m) => m.bytes.length);
  expect(large).toEqual([262_145, 1 << 20, 5 << 20]);
});

test("megabytes on many connections at the same time break none of them", async () => {
  const a = await start();
  const others = await Promise.all([1, 2, 3].map(() => start({ peers: a.transport.addresses() })));
  await until(() => others.every((other) => linked(a, other)), "linked");
  const rounds = 12;
  for (let round = 1; round <= rounds; round++) {
    for (const other of others) {
      a.transport.send(other.transport.peerId, bytes(3 << 20, round), "bulk");
      other.transport.send(a.transport.peerId, bytes(1 << 20, round), "bulk");
    }
    await until(() => others.every((other) => other.messages.length === round), "the sent messages arrive");
    await until(() => a.messages.length === round * others.length, "the received messages arrive");
  }
  for (const node of [a, ...others]) expect(node.disconnects).toEqual([]);
  expect(await cipherMemory()).toBeLessThan(1 << 20);
});

test("an urgent message overtakes bulk that waits", async () => {
  const a = await start();
  const b = await start({ peers: a.transport.addresses() });
  await until(() => linked(a, b), "linked");
  const order: number[] = [];
  b.onMessage = (_from, message) => order.push(message.length);
  for (let i = 0; i < 20; i++) a.transport.send(b.transport.peerId, bytes(1 << 20, i), "bulk");
  await until(() => order.length > 0, "the first of the bulk");
  a.transport.send(b.transport.peerId, bytes(100, 1), "urgent");
  await until(() => order.length === 21, "all of it");
  expect(order.indexOf(100)).toBeLessThan(20);
});

test("the queue to a peer is bounded: a message that does not fit is dropped", async () => {
  const a = await start();
  const b = await start({ peers: a.transport.addresses() });
  await until(() => linked(a, b), "linked");
  let taken = 0;
  for (let i = 0; i < 100; i++) if (a.transport.send(b.transport.peerId, bytes(1 << 20, i), "bulk")) taken++;
  expect(taken).toBeLessThan(100);
  expect(taken).toBeGreaterThan(30);
  await until(() => b.messages.length === taken, "each accepted message arrives");
  expect(a.transport.send(asPeerId("unknown"), bytes(1, 1), "urgent")).toBe(false);
});

test("a dial that is aborted before an answer fails without an uncaught error", async () => {
  const server = createServer(() => {});
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  const log = Object.assign(() => {}, { error: () => {}, trace: () => {}, newScope: () => log });
  const transport = tcp()({ logger: { forComponent: () => log } } as never);
  const errors: unknown[] = [];
  const onError = (error: unknown): void => void errors.push(error);
  process.on("uncaughtException", onError);
  try {
    for (let i = 0; i < 20; i++) {
      const time = new AbortController();
      const dialled = transport.dial(multiaddr(`/ip4/127.0.0.1/tcp/${port}`), {
        signal: time.signal,
      } as never);
      time.abort();
      expect(await dialled.catch((error: Error) => error.name)).toBe("AbortError");
    }
    await Bun.sleep(0); // an error event without a listener is thrown a turn later
    expect(errors).toEqual([]);
  } finally {
    process.off("uncaughtException", onError);
    server.close();
  }
});

test("a peer without the cluster key gets no stream", async () => {
  const a = await start();
  const stranger = await start({ peers: a.transport.addresses(), clusterKeys: [bytes(32, 9)] });
  const naked = await start({ peers: a.transport.addresses(), clusterKeys: null });
  const friend = await start({ peers: a.transport.addresses() });
  await until(() => linked(a, friend), "the friend");
  await Bun.sleep(1500);
  expect(a.transport.connected()).toEqual([friend.transport.peerId]);
  expect(stranger.connects.length + naked.connects.length).toBe(0);
});

test("a hello can be refused, and the reason reaches the other side", async () => {
  const a = await start();
  a.admit = () => "you belong to another cluster";
  const b = await start({ peers: a.transport.addresses() });
  await until(() => b.refusals.length > 0, "the refusal");
  expect(b.refusals[0]).toBe("you belong to another cluster");
  expect(a.transport.connected()).toEqual([]);
});

test("a node that knows one peer learns the addresses of all others", async () => {
  const a = await start();
  const b = await start({ peers: a.transport.addresses() });
  await until(() => linked(a, b), "a and b");
  const c = await start({ peers: a.transport.addresses() });
  await until(() => linked(b, c), "b and c by gossip");
  await until(() => linked(a, c), "a and c");
});

test("two nodes that dial each other keep one stream, which works in both directions", async () => {
  const keys = [await generateKeyPair("Ed25519"), await generateKeyPair("Ed25519")];
  const a = await start({ identity: keys[0]! });
  const b = await start({ identity: keys[1]!, peers: a.transport.addresses() });
  a.transport.addAddresses(b.transport.addresses().map((x) => x.split("/p2p/")[0]!));
  await until(() => linked(a, b), "linked");
  await Bun.sleep(1000);
  expect(linked(a, b)).toBe(true);
  a.transport.send(b.transport.peerId, bytes(10, 1), "urgent");
  b.transport.send(a.transport.peerId, bytes(10, 2), "urgent");
  await until(() => a.messages.length === 1 && b.messages.length === 1, "one message each");
});

test("a restarted peer with the same identity and address is found again", async () => {
  const identity = await generateKeyPair("Ed25519");
  const a = await start();
  const b = await start({ identity, peers: a.transport.addresses() });
  await until(() => linked(a, b), "linked");
  await until(() => a.transport.addressesOf(b.transport.peerId).length > 0, "a learns where b lives");
  const address = b.transport.addresses()[0]!.split("/p2p/")[0]!;
  await b.transport.stop();
  await until(() => a.disconnects.length > 0, "the loss is noticed");
  const again = await start({ identity, listen: [address] });
  await until(() => linked(a, again), "linked again");
});

test("garbage on the port or on a stream closes only that connection or stream", async () => {
  const a = await start();
  const b = await start({ peers: a.transport.addresses() });
  await until(() => linked(a, b), "linked");
  const port = Number(/tcp\/(\d+)/.exec(a.transport.addresses()[0]!)![1]);
  for (let i = 0; i < 50; i++) {
    const socket = connect(port, "127.0.0.1");
    socket.on("error", () => {});
    socket.write(crypto.getRandomValues(new Uint8Array(500)));
  }
  b.onMessage = () => {
    throw new Error("not a message");
  };
  a.transport.send(b.transport.peerId, bytes(10, 1), "urgent");
  await until(() => b.disconnects.length > 0, "the stream is closed");
  b.onMessage = null;
  await until(() => linked(a, b), "a new stream");
  a.transport.send(b.transport.peerId, bytes(10, 2), "urgent");
  await until(() => b.messages.length > 0, "a message on it");
});

test("a transfer to a slow receiver is paused, so that little of it is in memory", async () => {
  const a = await start();
  const b = await start({ peers: a.transport.addresses() });
  await until(() => linked(a, b), "linked");
  let sent = 0;
  a.onTransfer = async function* (request) {
    expect(new TextDecoder().decode(request)).toBe("please");
    for (let i = 0; i < 320; i++) {
      sent++;
      yield bytes(65_536, i & 255);
    }
  };
  let received = 0;
  let ahead = 0;
  for await (const chunk of b.transport.transfer(
    a.transport.peerId,
    new TextEncoder().encode("please"),
    new AbortController().signal,
  )) {
    expect(chunk[0]).toBe(received & 255);
    received++;
    if (received < 100) await Bun.sleep(1);
    if (received < 40) ahead = Math.max(ahead, sent - received);
  }
  expect(received).toBe(320);
  expect(ahead).toBeLessThan(250);
});

test("the receiver of a failed transfer gets the reason", async () => {
  const a = await start();
  const b = await start({ peers: a.transport.addresses() });
  await until(() => linked(a, b), "linked");
  a.onTransfer = async function* () {
    yield bytes(10, 1);
    throw new Error("no replica here");
  };
  const run = async (): Promise<void> => {
    for await (const _chunk of b.transport.transfer(a.transport.peerId, KEY, new AbortController().signal));
  };
  const outcome = await run().then(
    () => "no error",
    (error: Error) => error.message,
  );
  expect(outcome).toContain("no replica here");
});
