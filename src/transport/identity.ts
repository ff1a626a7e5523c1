/** A node's stable identity: an Ed25519 key in its data directory. The peer id is the public key's. */
import { asPeerId, type PeerId } from "../base/ids.ts";
import { chmodSync, closeSync, existsSync, fsyncSync, openSync, readFileSync, writeSync } from "node:fs";
import { createPrivateKey, createPublicKey, sign, verify } from "node:crypto";
import { generateKeyPair, privateKeyFromProtobuf, privateKeyToProtobuf } from "@libp2p/crypto/keys";
import type { PrivateKey } from "@libp2p/interface";
import { peerIdFromPrivateKey, peerIdFromString } from "@libp2p/peer-id";
import { UserError } from "../base/errors.ts";

/** Writes a new file durably, readable by its owner only. Throws `EEXIST` instead of overwriting one. */
export function writeSecret(path: string, content: Uint8Array | string): void {
  const bytes = typeof content === "string" ? Buffer.from(content) : content;
  const descriptor = openSync(path, "wx", 0o600);
  try {
    writeSync(descriptor, bytes, 0, bytes.length, 0);
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
  chmodSync(path, 0o600);
}

/** Reads the key; makes it when the file is missing. Throws `UserError` for a file that holds no key. */
export async function loadIdentity(path: string): Promise<PrivateKey> {
  if (!existsSync(path)) {
    const key = await generateKeyPair("Ed25519");
    writeSecret(path, privateKeyToProtobuf(key));
    return key;
  }
  const bytes = readFileSync(path);
  try {
    return privateKeyFromProtobuf(bytes);
  } catch (error) {
    throw new UserError(
      `${path} should hold this node's private key, but its content is not one`,
      "restore the file, or remove the data directory and let the node join again as a new one",
      { cause: error },
    );
  }
}

export const peerIdOf = (key: PrivateKey): PeerId => asPeerId(peerIdFromPrivateKey(key).toString());

/** Bytes of an Ed25519 key. */
const KEY_BYTES = 32;

const base64Url = (bytes: Uint8Array): string => Buffer.from(bytes).toString("base64url");

/** In base64. */
export function signText(key: PrivateKey, text: string): string {
  const [d, x] = [key.raw.subarray(0, KEY_BYTES), key.publicKey.raw].map(base64Url);
  const jwk = { kty: "OKP", crv: "Ed25519", d: d!, x: x! };
  return sign(null, Buffer.from(text), createPrivateKey({ key: jwk, format: "jwk" })).toString("base64");
}

/** Whether the node with that id signed the text. Never throws. */
export function isSigned(by: PeerId, text: string, signature: string): boolean {
  try {
    const { publicKey } = peerIdFromString(by);
    if (publicKey === undefined) return false;
    const jwk = { kty: "OKP", crv: "Ed25519", x: base64Url(publicKey.raw) };
    const key = createPublicKey({ key: jwk, format: "jwk" });
    return verify(null, Buffer.from(text), key, Buffer.from(signature, "base64"));
  } catch {
    return false; // no peer id, or the id of another kind of key
  }
}
