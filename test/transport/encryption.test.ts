/** Encryption of connections: its two kinds, and the private network's cipher, which ends with the handshake of the first. */
import { expect, test } from "bun:test";
import { generateKeyPair } from "@libp2p/crypto/keys";
import type { ConnectionProtector } from "@libp2p/interface";
import { tcp } from "@libp2p/tcp";
import { yamux } from "@libp2p/yamux";
import { createLibp2p, type Libp2p } from "libp2p";
import { utf8 } from "../../src/base/bytes.ts";
import { Random } from "../../src/base/random.ts";
import {
  AES_PROTOCOL,
  decryptAes,
  encryptAes,
  encrypters,
  joinSends,
} from "../../src/transport/libp2p/noise.ts";
import { MessageCounter } from "../../src/transport/libp2p/until-handshake.ts";
import { privateNetwork } from "../../src/transport/private-network.ts";
import { KEY, until } from "./lab.ts";

const ECHO = "/echo/1";
const HANDLERS = { keyFor: () => 0, onReached: () => {}, onStranger: () => {} };
type Encrypters = ReturnType<typeof encrypters>;

interface Cipher {
  update(bytes: Uint8Array): Uint8Array;
}

/** A node that answers each stream with the bytes it receives. `ciphered`: counts the bytes that the private network encrypts. */
async function node(connectionEncrypters: Encrypters, ciphered: { bytes: number }): Promise<Libp2p> {
  const network = privateNetwork([KEY], HANDLERS) as (...components: unknown[]) => ConnectionProtector;
  const created = await createLibp2p({
    privateKey: await generateKeyPair("Ed25519"),
    addresses: { listen: ["/ip4/127.0.0.1/tcp/0"] },
    transports: [tcp()],
    streamMuxers: [yamux()],
    connectionEncrypters,
    connectionProtector: (...components: unknown[]) => {
      const protector = network(...components);
      return {
        protect: async (connection, options) => {
          const encrypted = await protector.protect(connection, options);
          const own = encrypted as unknown as { outboundXor: Cipher };
          const { outboundXor } = own;
          own.outboundXor = {
            ...outboundXor,
            update: (bytes) => {
              ciphered.bytes += bytes.length;
              return outboundXor.update(bytes);
            },
          };
          return encrypted;
        },
      };
    },
  });
  await created.handle(ECHO, (stream) => {
    stream.addEventListener("message", (event) => void stream.send(event.data));
  });
  return created;
}

/** Sends 200 KB there and back. Returns the kind of encryption, and the bytes under the private network's cipher. */
async function exchange(from: Encrypters, to: Encrypters): Promise<{ kind: string; ciphered: number }> {
  const ciphered = { bytes: 0 };
  const [a, b] = [await node(from, ciphered), await node(to, ciphered)];
  try {
    const connection = await a.dial(b.getMultiaddrs());
    const stream = await connection.newStream(ECHO);
    const received: Uint8Array[] = [];
    stream.addEventListener("message", ({ data }) => received.push(data.subarray().slice()));
    const sent = Buffer.from(Array.from({ length: 200_000 }, (_, i) => i % 251));
    stream.send(sent);
    await until(() => received.reduce((sum, r) => sum + r.length, 0) >= sent.length, "all came back");
    expect(Buffer.concat(received).equals(sent)).toBe(true);
    return { kind: connection.encryption ?? "", ciphered: ciphered.bytes };
  } finally {
    await Promise.all([a.stop(), b.stop()]);
  }
}

test("two nodes of this build use AES-256-GCM, and the private network's cipher for the handshake alone", async () => {
  const { kind, ciphered } = await exchange(encrypters(), encrypters());
  expect(kind).toBe(AES_PROTOCOL);
  expect(ciphered).toBeLessThan(5000);
});

test("a node of this build and an older one use ChaCha20-Poly1305, in both directions, all of it under the cipher", async () => {
  const [aes, chaCha] = encrypters() as [Encrypters[0], Encrypters[0]];
  for (const [from, to] of [
    [[aes, chaCha], [chaCha]],
    [[chaCha], [aes, chaCha]],
  ] as const) {
    const { kind, ciphered } = await exchange([...from], [...to]);
    expect(kind).toBe("/noise");
    expect(ciphered).toBeGreaterThan(400_000);
  }
}, 30_000);

test("the end of the handshake's messages is found however the bytes arrive", () => {
  for (let seed = 1; seed <= 200; seed++) {
    const random = new Random(seed);
    const sizes = Array.from({ length: 2 }, () => 1 + random.below(700));
    const skip = random.below(40);
    const stream = Buffer.concat([
      Buffer.alloc(skip, 0xff),
      ...sizes.map((size) => Buffer.concat([Buffer.from([size >> 8, size & 255]), Buffer.alloc(size, 0xff)])),
      Buffer.alloc(100, 0xff),
    ]);
    const counter = new MessageCounter(2, skip);
    let at = 0;
    while (!counter.done) {
      const part = stream.subarray(at, at + Math.min(counter.known, 1 + random.below(300)));
      counter.take(part);
      at += part.length;
    }
    expect(at).toBe(stream.length - 100);
  }
});

test("a record with a changed byte, tag, nonce or context is refused", () => {
  const random = new Random(1);
  const bytes = (length: number) => Uint8Array.from({ length }, () => random.below(256));
  const [key, nonce, context] = [bytes(32), bytes(12), bytes(7)];
  const flipped = (from: Uint8Array, at: number) =>
    new Uint8Array(from).map((x, i) => (i === at ? x ^ 1 : x));
  for (const length of [0, 1, 65_519]) {
    const plain = bytes(length);
    const record = encryptAes(plain, nonce, context, key);
    expect(record.length).toBe(length + 16);
    expect(new Uint8Array(decryptAes(record, nonce, context, key))).toEqual(plain);
    for (const at of [0, record.length >> 1, record.length - 1])
      expect(() => decryptAes(flipped(record, at), nonce, context, key)).toThrow();
    expect(() => decryptAes(record, flipped(nonce, 11), context, key)).toThrow();
    expect(() => decryptAes(record, nonce, flipped(context, 0), key)).toThrow();
  }
});

test("data of the turn in which a connection closes leaves before it closes, and later data is dropped", async () => {
  const done: string[] = [];
  let isClosingBelow = false;
  const connection = {
    status: "open",
    writeStatus: "writable",
    writableNeedsDrain: false,
    send(data: Uint8Array | { subarray(): Uint8Array }): boolean {
      if (isClosingBelow) throw new Error("Cannot write to a stream that is closing");
      done.push(new TextDecoder().decode(data instanceof Uint8Array ? data : data.subarray()));
      return true;
    },
    close(): Promise<void> {
      connection.writeStatus = "closing";
      done.push("closed");
      return Promise.resolve();
    },
    abort: (error: Error) => void done.push(error.message),
  };
  joinSends(connection);
  connection.send(utf8("one "));
  connection.send(utf8("turn"));
  await connection.close();
  connection.send(utf8("late"));
  await Bun.sleep(0);
  expect(done).toEqual(["one turn", "closed"]);

  // The transport below ends first.
  connection.writeStatus = "writable";
  isClosingBelow = true;
  connection.send(utf8("lost"));
  await Bun.sleep(0);
  expect(done.at(-1)).toBe("Cannot write to a stream that is closing");
});
