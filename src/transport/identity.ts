/** A node's stable identity: an Ed25519 key in its data directory. The peer id is the public key's. */
import { asPeerId, type PeerId } from "../base/ids.ts";
import { chmodSync, closeSync, existsSync, fsyncSync, openSync, readFileSync, writeSync } from "node:fs";
import { generateKeyPair, privateKeyFromProtobuf, privateKeyToProtobuf } from "@libp2p/crypto/keys";
import type { PrivateKey } from "@libp2p/interface";
import { peerIdFromPrivateKey } from "@libp2p/peer-id";
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
  try {
    return privateKeyFromProtobuf(readFileSync(path));
  } catch (error) {
    throw new UserError(
      `${path} should hold this node's private key, but its content is not one`,
      "restore the file, or remove the data directory and let the node join again as a new one",
      { cause: error },
    );
  }
}

export const peerIdOf = (key: PrivateKey): PeerId => asPeerId(peerIdFromPrivateKey(key).toString());
