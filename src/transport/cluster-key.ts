/**
 * The cluster key: the secret that all nodes share. A peer without it cannot open a stream. As text it is a line
 * `marmot-cluster-key-1:<base64 of 32 bytes>`; a file may hold several, the first is used for new connections.
 */
import { hkdfSync, randomBytes } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { errorMessage, UserError } from "../base/errors.ts";
import { writeSecret } from "./identity.ts";

const PREFIX = "marmot-cluster-key-1:";
const KEY_BYTES = 32;
/** A key file has a few lines; a larger file is not one. */
const MAX_FILE_BYTES = 64 * 1024;

const HINT = "use the key file of a node of the cluster, or make one with: marmot key generate";

export const generateClusterKey = (): string => `${PREFIX}${randomBytes(KEY_BYTES).toString("base64")}`;

/** The keys in `text`, in order, at least one. `source` names the origin of the text in errors. */
export function parseClusterKeys(text: string, source: string): Uint8Array[] {
  const lines = text.split(/\r?\n/).map((line) => line.trim());
  const keys: Uint8Array[] = [];
  lines.forEach((line, i) => {
    if (line === "" || line.startsWith("#")) return;
    const bytes = Buffer.from(line.slice(PREFIX.length), "base64");
    if (
      !line.startsWith(PREFIX) ||
      bytes.length !== KEY_BYTES ||
      bytes.toString("base64") !== line.slice(PREFIX.length)
    )
      throw new UserError(
        `${source}: line ${i + 1} should read ${PREFIX}<base64 of ${KEY_BYTES} bytes>, but does not`,
        HINT,
      );
    keys.push(new Uint8Array(bytes));
  });
  if (keys.length === 0) throw new UserError(`${source} holds no cluster key`, HINT);
  return keys;
}

export function readClusterKeys(path: string): Uint8Array[] {
  let text: string;
  try {
    if (statSync(path).size > MAX_FILE_BYTES) throw new Error(`it is larger than ${MAX_FILE_BYTES} bytes`);
    text = readFileSync(path, "utf8");
  } catch (error) {
    throw new UserError(`the cluster key ${path} cannot be read: ${errorMessage(error)}`, HINT, {
      cause: error,
    });
  }
  return parseClusterKeys(text, path);
}

/** Makes a key file. Throws `UserError` where one exists, or where the folder cannot be written. */
export function createClusterKey(path: string): string {
  const line = generateClusterKey();
  try {
    writeSecret(path, `${line}\n`);
  } catch (error) {
    throw cannotWrite(path, error);
  }
  return line;
}

function cannotWrite(path: string, error: unknown): UserError {
  const folder = dirname(resolve(path));
  switch ((error as { code?: string }).code) {
    case "EEXIST":
      return new UserError(
        `${path} exists; a cluster key is never overwritten`,
        "choose another file, or remove this one",
        { cause: error },
      );
    case "ENOENT":
      return new UserError(
        `${path} cannot be written: the folder ${folder} does not exist`,
        `mkdir -p ${folder}`,
        { cause: error },
      );
    default:
      return new UserError(
        `${path} cannot be written: ${errorMessage(error)}`,
        `choose a file in a folder that this user may write to, or change the permissions of ${folder}`,
        { cause: error },
      );
  }
}

/** The key of the private network. */
export const derivedKey = (clusterKey: Uint8Array): Uint8Array =>
  new Uint8Array(hkdfSync("sha256", clusterKey, new Uint8Array(0), "marmot private network 1", 32));

/** Tells keys apart without showing them. */
export const keyFingerprint = (clusterKey: Uint8Array): string =>
  Buffer.from(hkdfSync("sha256", clusterKey, new Uint8Array(0), "marmot key fingerprint 1", 8)).toString(
    "hex",
  );

/** The key of the private network, in the format of libp2p's pnet. */
export const privateNetworkKey = (clusterKey: Uint8Array): Uint8Array =>
  new TextEncoder().encode(
    `/key/swarm/psk/1.0.0/\n/base16/\n${Buffer.from(derivedKey(clusterKey)).toString("hex")}`,
  );
