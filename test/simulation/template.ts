/** Clusters that are formed already, to begin runs with: made once per kind and process, then copied. */
import type { PeerId } from "../../src/base/ids.ts";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { generateKeyPairFromSeed, privateKeyToProtobuf } from "@libp2p/crypto/keys";
import { peerIdOf, writeSecret } from "../../src/transport/identity.ts";

/** Memory, where there is a file system of it: thousands of runs wear out a disk for nothing. */
export const scratch = (name: string): string =>
  mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), `marmot-${name}-`));

const keyOf = (node: number) => generateKeyPairFromSeed("Ed25519", new Uint8Array(32).fill(node + 1));

const peerIds: PeerId[] = [];

/** The same peer ids in every run, so that a seed replays. */
export async function peerIdOfNode(node: number): Promise<PeerId> {
  return (peerIds[node] ??= peerIdOf(await keyOf(node)));
}

export async function writeIdentity(dataDir: string, node: number): Promise<void> {
  mkdirSync(dataDir, { recursive: true });
  writeSecret(join(dataDir, "node.key"), privateKeyToProtobuf(await keyOf(node)));
}

/** Paths within it ⇒ what the files hold; null: folders. */
type Template = ReadonlyMap<string, { readonly content: Uint8Array; readonly mode: number } | null>;

const made = new Map<string, Template>();

function readTemplate(folder: string): Template {
  const template = new Map<string, { content: Uint8Array; mode: number } | null>();
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true }).sort((a, b) =>
    join(a.parentPath, a.name) < join(b.parentPath, b.name) ? -1 : 1,
  )) {
    const path = join(entry.parentPath, entry.name);
    const file = entry.isDirectory() ? null : { content: readFileSync(path), mode: statSync(path).mode };
    template.set(path.slice(folder.length + 1), file);
  }
  return template;
}

/** Fills `folder` with a copy of the template called `name`, which `make` makes in an empty folder if there is none. */
export async function copyTemplate(
  name: string,
  folder: string,
  make: (folder: string) => Promise<void>,
): Promise<void> {
  let template = made.get(name);
  if (template === undefined) {
    const original = scratch(`template-${name}`);
    try {
      await make(original);
      template = readTemplate(original);
      made.set(name, template);
    } finally {
      rmSync(original, { recursive: true, force: true });
    }
  }
  for (const [path, file] of template)
    if (file === null) mkdirSync(join(folder, path), { recursive: true });
    else writeFileSync(join(folder, path), file.content, { mode: file.mode & 0o777 });
}
