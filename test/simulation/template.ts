/** Clusters that are formed already, to begin runs with: made once per kind and process, then copied. */
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { generateKeyPairFromSeed, privateKeyToProtobuf } from "@libp2p/crypto/keys";
import { peerIdOf, writeSecret } from "../../src/transport/identity.ts";

/** Memory, where there is a file system of it: thousands of runs wear out a disk for nothing. */
export const scratch = (name: string): string =>
  mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), `marmot-${name}-`));

const keyOf = (node: number) => generateKeyPairFromSeed("Ed25519", new Uint8Array(32).fill(node + 1));

const peerIds: string[] = [];

/** The same peer ids in every run, so that a seed replays. */
export async function peerIdOfNode(node: number): Promise<string> {
  return (peerIds[node] ??= peerIdOf(await keyOf(node)));
}

export async function writeIdentity(dataDir: string, node: number): Promise<void> {
  mkdirSync(dataDir, { recursive: true });
  writeSecret(join(dataDir, "node.key"), privateKeyToProtobuf(await keyOf(node)));
}

const made = new Map<string, string>();

/** Fills `folder` with a copy of the template called `name`, which `make` makes in an empty folder if there is none. */
export async function copyTemplate(
  name: string,
  folder: string,
  make: (folder: string) => Promise<void>,
): Promise<void> {
  let template = made.get(name);
  if (template === undefined) {
    template = scratch(`template-${name}`);
    made.set(name, template);
    await make(template);
  }
  cpSync(template, folder, { recursive: true });
}

process.on("exit", () => {
  for (const folder of made.values()) rmSync(folder, { recursive: true, force: true });
});
