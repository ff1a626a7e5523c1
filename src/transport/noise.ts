/**
 * Noise on Bun. Two things are mended around the library, without a fork:
 * - Bun's node:crypto has no chacha20-poly1305, so payloads above 1,200 bytes would abort the connection: libsodium does it.
 * - The muxer answers each frame with a window update of its own: what one turn sends is joined, one encryption and one
 *   write instead of two. (Noise's length and ciphertext, which it writes apart, are joined by the private network's
 *   protector below it.)
 */
import { noise } from "@chainsafe/libp2p-noise";
import { defaultCrypto } from "@chainsafe/libp2p-noise/crypto";
import sodium from "libsodium-wrappers";

type Bytes = Uint8Array | { subarray(): Uint8Array };
type Encrypter = ReturnType<typeof noise>;

const flat = (data: Bytes): Uint8Array => (data instanceof Uint8Array ? data : data.subarray());

/** The parts of libp2p's connection that are wrapped. */
interface SecureConnection {
  status: string;
  writableNeedsDrain: boolean;
  send(data: Bytes): boolean;
}

/** Await before the first handshake. */
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

/** Joins what one turn sends before it is encrypted. */
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
        send(turn.length === 1 ? turn[0]! : Buffer.concat(turn.map(flat)));
      });
    return connection.writableNeedsDrain !== true;
  };
}
