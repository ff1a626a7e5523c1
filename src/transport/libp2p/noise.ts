/**
 * Noise on Bun, with two kinds of encryption. Nodes of this build agree on the first, older ones know the second.
 * - AES-256-GCM of Bun's node:crypto. It takes a twentieth of the time of the other. The private network's cipher then serves
 *   the handshake alone (`until-handshake.ts`).
 * - ChaCha20-Poly1305, as libp2p defines it. Bun's node:crypto does not have it, so libsodium encrypts and decrypts. It is
 *   loaded with the first such connection.
 *
 * The muxer answers each frame with a window update. The frames of one turn are joined, so that one encryption and one
 * write serve both.
 */
import { createCipheriv, createDecipheriv } from "node:crypto";
import { noise } from "@chainsafe/libp2p-noise";
import { defaultCrypto } from "@chainsafe/libp2p-noise/crypto";
import { utf8 } from "../../base/bytes.ts";
import { loadSodium } from "../../base/crypto/sodium.ts";
import { endCipherAfterHandshake } from "./until-handshake.ts";

/** The name by which both sides choose the first kind. It is also mixed into the handshake. */
export const AES_PROTOCOL = "/marmot/noise-aes-256-gcm/1";
const AES = "aes-256-gcm";
const TAG_BYTES = 16;

type Bytes = Uint8Array | (Iterable<Uint8Array> & { subarray(): Uint8Array });
type Encrypter = ReturnType<typeof noise>;
type Encrypt = (data: Bytes, nonce: Uint8Array, associated: Uint8Array, key: Uint8Array) => Uint8Array;

const flat = (data: Bytes): Uint8Array => (data instanceof Uint8Array ? data : data.subarray());

const partsOf = (data: Bytes): Uint8Array[] => (data instanceof Uint8Array ? [data] : [...data]);

/** The parts of libp2p's connection that are used here. */
interface SecureConnection {
  status: string;
  /** "writable", "paused", "closing" or "closed". */
  writeStatus: string;
  writableNeedsDrain: boolean;
  send(data: Bytes): boolean;
  close(options?: object): Promise<void>;
  abort(error: Error): void;
}

/** Noise's ciphers take every nonce once for each key. */
export const encryptAes: Encrypt = (plain, nonce, associated, key) => {
  const cipher = createCipheriv(AES, key, nonce);
  cipher.setAAD(associated);
  return Buffer.concat([cipher.update(flat(plain)), cipher.final(), cipher.getAuthTag()]);
};

/** Throws where a byte was changed. */
export const decryptAes: Encrypt = (data, nonce, associated, key) => {
  const bytes = flat(data);
  const decipher = createDecipheriv(AES, key, nonce);
  decipher.setAAD(associated);
  decipher.setAuthTag(bytes.subarray(bytes.length - TAG_BYTES));
  const plain = decipher.update(bytes.subarray(0, bytes.length - TAG_BYTES));
  decipher.final();
  return plain;
};

/** In the order of preference. */
export function encrypters(): Encrypter[] {
  const aes = noiseWith({ encrypt: encryptAes, decrypt: decryptAes }, utf8(AES_PROTOCOL));
  let loaded: Awaited<ReturnType<typeof loadSodium>> | null = null;
  const load = async (): Promise<void> => void (loaded = await loadSodium());
  const chaCha = noiseWith({
    encrypt: (plain, nonce, associated, key) =>
      loaded!.crypto_aead_chacha20poly1305_ietf_encrypt(flat(plain), associated, null, nonce, key),
    decrypt: (data, nonce, associated, key) =>
      loaded!.crypto_aead_chacha20poly1305_ietf_decrypt(null, flat(data), associated, nonce, key),
  });
  return [
    wrapped(aes, { protocol: AES_PROTOCOL, endsCipher: true }),
    wrapped(chaCha, { endsCipher: false, before: load }),
  ];
}

function noiseWith(aead: { encrypt: Encrypt; decrypt: Encrypt }, prologueBytes?: Uint8Array): Encrypter {
  const crypto = {
    ...defaultCrypto,
    chaCha20Poly1305Encrypt: aead.encrypt,
    chaCha20Poly1305Decrypt: aead.decrypt,
  };
  const prologue = prologueBytes === undefined ? {} : { prologueBytes };
  return noise({ crypto, ...prologue } as unknown as Parameters<typeof noise>[0]);
}

interface WrapOptions {
  /** Absent: the library's. */
  readonly protocol?: string;
  /** The private network's cipher ends with the handshake. */
  readonly endsCipher: boolean;
  /** Runs before each handshake. */
  readonly before?: () => Promise<void>;
}

/** Joins the data of one turn before it is encrypted. */
function wrapped(encrypter: Encrypter, { protocol, endsCipher, before }: WrapOptions): Encrypter {
  return ((components: Parameters<Encrypter>[0]) => {
    const inner = encrypter(components);
    const secure = async (
      key: "secureInbound" | "secureOutbound",
      connection: never,
      options: never,
    ): Promise<unknown> => {
      if (endsCipher)
        endCipherAfterHandshake(connection, key === "secureOutbound" ? "initiator" : "responder");
      if (before !== undefined) await before();
      const result = await inner[key](connection, options);
      joinSends(result.connection as unknown as SecureConnection);
      return result;
    };
    return new Proxy(inner, {
      get(target, key) {
        if (key === "protocol" && protocol !== undefined) return protocol;
        if (key === "secureInbound" || key === "secureOutbound")
          return (connection: never, options: never) => secure(key, connection, options);
        return Reflect.get(target, key, target) as unknown;
      },
    });
  }) as Encrypter;
}

/** The data of a turn in which the connection is closed leaves before it closes. */
export function joinSends(connection: SecureConnection): void {
  const send = connection.send.bind(connection);
  const close = connection.close.bind(connection);
  let parts: Bytes[] = [];
  const flush = (): void => {
    const turn = parts;
    parts = [];
    if (turn.length === 0 || connection.status !== "open" || connection.writeStatus.startsWith("clos"))
      return;
    try {
      send(turn.length === 1 ? turn[0]! : Buffer.concat(turn.flatMap(partsOf)));
    } catch (error) {
      connection.abort(error as Error); // the transport below is closing already
    }
  };
  connection.send = (data) => {
    parts.push(data);
    if (parts.length === 1) queueMicrotask(flush);
    return connection.writableNeedsDrain !== true;
  };
  connection.close = (options) => {
    flush();
    return close(options);
  };
}
