/**
 * Noise on Bun. Two fixes are put around the library, without a fork:
 * - Bun's node:crypto has no chacha20-poly1305, so payloads above 1,200 bytes would abort the connection. libsodium
 *   encrypts and decrypts instead.
 * - The muxer answers each frame with a window update. The frames of one turn are joined, so that one encryption and one
 *   write serve both. (Noise writes length and ciphertext separately; the private network's protector joins those.)
 */
import { noise } from "@chainsafe/libp2p-noise";
import { defaultCrypto } from "@chainsafe/libp2p-noise/crypto";
import sodium from "libsodium-wrappers";

type Bytes = Uint8Array | (Iterable<Uint8Array> & { subarray(): Uint8Array });
type Encrypter = ReturnType<typeof noise>;

const flat = (data: Bytes): Uint8Array => (data instanceof Uint8Array ? data : data.subarray());

const partsOf = (data: Bytes): Uint8Array[] => (data instanceof Uint8Array ? [data] : [...data]);

/** The parts of libp2p's connection that are used here. */
interface SecureConnection {
  status: string;
  writableNeedsDrain: boolean;
  send(data: Bytes): boolean;
}

/** Resolves when libsodium is loaded, which must be before the first handshake. */
export async function sodiumNoise(): Promise<Encrypter> {
  await sodium.ready;
  const crypto = {
    ...defaultCrypto,
    chaCha20Poly1305Encrypt: (plain: Bytes, nonce: Uint8Array, data: Uint8Array, key: Uint8Array) =>
      sodium.crypto_aead_chacha20poly1305_ietf_encrypt(flat(plain), data, null, nonce, key),
    chaCha20Poly1305Decrypt: (cipher: Bytes, nonce: Uint8Array, data: Uint8Array, key: Uint8Array) =>
      sodium.crypto_aead_chacha20poly1305_ietf_decrypt(null, flat(cipher), data, nonce, key),
  };
  return joined(noise({ crypto } as unknown as Parameters<typeof noise>[0]));
}

/** Joins the data of one turn before it is encrypted. */
function joined(encrypter: Encrypter): Encrypter {
  return ((components: Parameters<Encrypter>[0]) => {
    const inner = encrypter(components);
    const wrap = async (secure: () => Promise<unknown>): Promise<unknown> => {
      const result = (await secure()) as { connection: SecureConnection };
      joinSends(result.connection);
      return result;
    };
    return new Proxy(inner, {
      get(target, key) {
        if (key === "secureInbound" || key === "secureOutbound")
          return (connection: never, options: never) => wrap(() => target[key](connection, options));
        return Reflect.get(target, key, target) as unknown;
      },
    });
  }) as Encrypter;
}

function joinSends(connection: SecureConnection): void {
  const send = connection.send.bind(connection);
  let parts: Bytes[] = [];
  connection.send = (data) => {
    parts.push(data);
    if (parts.length === 1)
      queueMicrotask(() => {
        const turn = parts;
        parts = [];
        if (connection.status !== "open") return;
        send(turn.length === 1 ? turn[0]! : Buffer.concat(turn.flatMap(partsOf)));
      });
    return connection.writableNeedsDrain !== true;
  };
}
