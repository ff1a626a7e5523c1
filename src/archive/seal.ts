/**
 * Encryption of an archive: XChaCha20-Poly1305 with a random nonce for each piece. The name of the object is authenticated with it, so no
 * piece can take the place of another. Without a key pieces stay as they are.
 */
import { readFileSync } from "node:fs";
import { errorMessage, UserError } from "../base/errors.ts";
import { loadSodium } from "../base/crypto/sodium.ts";
import { encodeText } from "./stores/store.ts";

export interface Seal {
  /** Tells keys apart, and tells nothing of the key; "": there is none. */
  readonly check: string;
  close(bytes: Uint8Array, name: string): Uint8Array;
  /** null: another key or another name, or the bytes were changed. */
  open(bytes: Uint8Array, name: string): Uint8Array | null;
}

const PLAIN: Seal = { check: "", close: (bytes) => bytes, open: (bytes) => bytes };

/** Characters of the shortest key. */
const SHORTEST = 16;
const KEY_BYTES = 32;

/** `path`: the key file; null: nothing is encrypted. Throws `UserError`. */
export async function openSeal(path: string | null): Promise<Seal> {
  if (path === null) return PLAIN;
  const secret = readKey(path);
  const sodium = await loadSodium();
  const key = sodium.crypto_generichash(KEY_BYTES, encodeText(secret), encodeText("marmot archive key"));
  const nonceBytes = sodium.crypto_aead_xchacha20poly1305_ietf_NPUBBYTES;
  return {
    check: sodium.to_hex(sodium.crypto_generichash(16, encodeText("marmot archive check"), key)),
    close(bytes, name) {
      const nonce = sodium.randombytes_buf(nonceBytes);
      const sealed = sodium.crypto_aead_xchacha20poly1305_ietf_encrypt(
        ...([bytes, encodeText(name), null, nonce, key] as const),
      );
      const out = new Uint8Array(nonceBytes + sealed.length);
      out.set(nonce);
      out.set(sealed, nonceBytes);
      return out;
    },
    open(bytes, name) {
      const [nonce, sealed] = [bytes.subarray(0, nonceBytes), bytes.subarray(nonceBytes)];
      try {
        return sodium.crypto_aead_xchacha20poly1305_ietf_decrypt(null, sealed, encodeText(name), nonce, key);
      } catch {
        return null;
      }
    },
  };
}

function readKey(path: string): string {
  let secret: string;
  try {
    secret = readFileSync(path, "utf8").trim();
  } catch (error) {
    throw new UserError(
      `the archive key ${path} cannot be read: ${errorMessage(error)}`,
      "check --archive-key; openssl rand -base64 32 prints a key",
      { cause: error },
    );
  }
  if (secret.length >= SHORTEST) return secret;
  throw new UserError(
    `the archive key in ${path} has ${secret.length} characters; at least ${SHORTEST} are needed`,
    "openssl rand -base64 32 prints one",
  );
}
