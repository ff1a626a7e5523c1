/**
 * libp2p's private network: every byte of a connection is encrypted with a key derived from the cluster key. Three things are
 * put around the library, without a fork.
 * - All connections share the memory of one cipher. Data larger than that memory (640 KB) makes it grow. Then each other
 *   connection computes a wrong size and makes it grow further. At the limit of the memory the connections break. So each
 *   piece to encrypt is kept far below 640 KB.
 * - The cipher of a closed connection keeps its place in that memory. It is given back.
 * - The first bytes that arrive are known: they begin the choice of a protocol. So an incoming connection is read with each
 *   of the cluster keys, and one with none of them is reported.
 */
import type { ConnectionProtector } from "@libp2p/interface";
import { preSharedKey } from "@libp2p/pnet";
import { derivedKey, privateNetworkKey } from "./cluster-key.ts";

/** Upper limit of one piece to encrypt. */
const PIECE_BYTES = 256 << 10;
const TIMEOUT_MS = 5000;
const NONCE_BYTES = 24;
/** The first bytes on each connection, as multistream-select defines them. */
const GREETING = new TextEncoder().encode("\u0013/multistream/1.0.0\n");

type Components = Parameters<ReturnType<typeof preSharedKey>>;
type Bytes = Uint8Array | { subarray(): Uint8Array };

interface Cipher {
  update(bytes: Uint8Array): Uint8Array;
  /** Gives its part of the shared memory back. */
  final(): void;
}
type CipherClass = new (nonce: Uint8Array, key: Uint8Array) => Cipher;

/** The parts of libp2p's connection that are used here. */
interface RawConnection {
  readonly remoteAddr: { toString(): string };
  readonly direction: "inbound" | "outbound";
  readonly readBufferLength: number;
  /** Called by the socket. */
  onData(data: Bytes): void;
  send(data: Bytes): boolean;
  addEventListener(type: "message", listener: (event: { data: Bytes }) => void): void;
  addEventListener(type: "close", listener: () => void): void;
}

/** The library's encrypted connection: its two ciphers are replaced when the key is known. */
interface Encrypted {
  maxMessageSize?: number;
  inboundXor: Cipher;
  outboundXor: Cipher;
}

export interface PrivateNetworkHandlers {
  /** The place of the key for a connection that this node opens. */
  readonly keyFor: (address: string) => number;
  /** The handshake of a connection that this node opens has begun. */
  readonly onReached: (address: string) => void;
  /** The other side of an incoming connection has none of the keys. */
  readonly onStranger: (address: string) => void;
}

/** `keys`: cluster keys, at least one. */
export function privateNetwork(
  keys: readonly Uint8Array[],
  handlers: PrivateNetworkHandlers,
): (...components: Components) => ConnectionProtector {
  const create = keys.map((key) => preSharedKey({ psk: privateNetworkKey(key), timeout: TIMEOUT_MS }));
  return (...components) => {
    const protectors = create.map((make) => make(...components));
    const [first] = protectors as [ConnectionProtector];
    const protect: ConnectionProtector["protect"] = async (connection, options) => {
      const raw = connection as unknown as RawConnection;
      const nonces = readNonces(raw);
      const release = holdAfterNonce(raw);
      const address = raw.remoteAddr.toString();
      const at = raw.direction === "outbound" ? handlers.keyFor(address) : 0;
      const encrypted = await (protectors[at] ?? first).protect(connection, options);
      if (raw.direction === "outbound") handlers.onReached(address);
      const own = encrypted as unknown as Encrypted;
      own.maxMessageSize = PIECE_BYTES;
      chooseKey({ encrypted: own, raw, nonces, keys, onStranger: handlers.onStranger });
      release();
      return encrypted;
    };
    return new Proxy(first, {
      get: (target, key) => (key === "protect" ? protect : (Reflect.get(target, key, target) as unknown)),
    });
  };
}

interface Nonces {
  own: Uint8Array;
  other: Uint8Array;
}

const flat = (data: Bytes): Uint8Array => (data instanceof Uint8Array ? data : data.subarray());

/** The library does not show the nonces: they are the first bytes of each direction. */
function readNonces(raw: RawConnection): Nonces {
  const nonces: Nonces = { own: new Uint8Array(0), other: new Uint8Array(0) };
  const add = (to: Uint8Array, data: Bytes): Uint8Array =>
    to.length >= NONCE_BYTES ? to : Buffer.concat([to, flat(data).subarray(0, NONCE_BYTES - to.length)]);
  raw.addEventListener("message", ({ data }) => {
    nonces.other = add(nonces.other, data);
  });
  const send = raw.send.bind(raw);
  raw.send = (data) => {
    nonces.own = add(nonces.own, data);
    return send(data);
  };
  return nonces;
}

/** Bytes that arrive with the nonce would be decrypted before the key is chosen: they wait until the returned call. */
function holdAfterNonce(raw: RawConnection): () => void {
  const onData = raw.onData.bind(raw);
  const held: Uint8Array[] = [];
  let missing = Math.max(0, NONCE_BYTES - raw.readBufferLength);
  raw.onData = (data) => {
    const bytes = flat(data);
    const nonce = bytes.subarray(0, missing);
    missing -= nonce.length;
    if (nonce.length < bytes.length) held.push(bytes.subarray(nonce.length));
    if (nonce.length > 0) onData(nonce);
  };
  return () => {
    raw.onData = onData;
    for (const bytes of held.splice(0)) onData(bytes);
  };
}

interface Choice {
  readonly encrypted: Encrypted;
  readonly raw: RawConnection;
  readonly nonces: Nonces;
  readonly keys: readonly Uint8Array[];
  readonly onStranger: PrivateNetworkHandlers["onStranger"];
}

/** Decides with the first bytes that arrive. Until then an incoming connection has sent nothing but its nonce. */
function chooseKey({ encrypted, raw, nonces, keys, onStranger }: Choice): void {
  const ciphers = [encrypted.inboundXor, encrypted.outboundXor];
  const first = encrypted.inboundXor;
  const Cipher = first.constructor as CipherClass;
  const create = (nonce: Uint8Array, key: Uint8Array): Cipher => {
    const cipher = new Cipher(nonce, derivedKey(key));
    ciphers.push(cipher);
    return cipher;
  };
  const choose = (bytes: Uint8Array): Uint8Array => {
    if (bytes.length === 0) return bytes;
    encrypted.inboundXor = first;
    const read = first.update(bytes);
    if (isGreeting(read)) return read;
    for (const key of raw.direction === "inbound" ? keys.slice(1) : []) {
      const cipher = create(nonces.other, key);
      const other = cipher.update(bytes);
      if (!isGreeting(other)) continue;
      encrypted.inboundXor = cipher;
      encrypted.outboundXor = create(nonces.own, key);
      return other;
    }
    if (raw.direction === "inbound") onStranger(raw.remoteAddr.toString());
    return read;
  };
  encrypted.inboundXor = { update: choose, final: () => {} };
  raw.addEventListener("close", () => {
    encrypted.inboundXor = CLOSED;
    encrypted.outboundXor = CLOSED;
    for (const cipher of ciphers.splice(0)) cipher.final();
  });
}

const isGreeting = (bytes: Uint8Array): boolean =>
  bytes.subarray(0, GREETING.length).every((byte, i) => byte === GREETING[i]);

/** No byte is sent or read in plain text after a connection has closed. */
const CLOSED: Cipher = { update: (bytes) => new Uint8Array(bytes.length), final: () => {} };
