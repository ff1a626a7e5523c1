/** Node and cluster keys for the commands. */
import { existsSync } from "node:fs";
import type { PeerId } from "../base/ids.ts";
import { UserError } from "../base/errors.ts";
import { loadIdentity, peerIdOf } from "../transport/identity.ts";
import { dataPaths } from "../replication/machine/data-paths.ts";

export {
  createClusterKey,
  generateClusterKey,
  keyFingerprint,
  parseClusterKeys,
  readClusterKeys,
} from "../transport/cluster-key.ts";

/** The peer id of the node that owns the data directory. */
export async function readPeerId(dataDir: string): Promise<PeerId> {
  const { identity } = dataPaths(dataDir);
  if (!existsSync(identity))
    throw new UserError(
      `there is no node key ${identity}`,
      "check --data-dir; marmot run makes the key when a node first starts",
    );
  return peerIdOf(await loadIdentity(identity));
}

export const defaultClusterKeyFile = (dataDir: string): string => dataPaths(dataDir).clusterKey;
export const controlSocketOf = (dataDir: string): string => dataPaths(dataDir).controlSocket;
