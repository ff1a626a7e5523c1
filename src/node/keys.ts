/** Keys as the verbs need them. */
import type { PeerId } from "../base/ids.ts";
import { existsSync } from "node:fs";
import { UserError } from "../base/errors.ts";
import { loadIdentity, peerIdOf } from "../transport/identity.ts";
import { dataPaths } from "../replication/data-paths.ts";

export {
  createClusterKey,
  generateClusterKey,
  parseClusterKeys,
  readClusterKeys,
} from "../transport/cluster-key.ts";

/** The peer id of the node whose data directory this is. */
export async function readPeerId(dataDir: string): Promise<PeerId> {
  const { identity } = dataPaths(dataDir);
  if (!existsSync(identity))
    throw new UserError(`there is no node key ${identity}`, "a node makes its key when it first runs");
  return peerIdOf(await loadIdentity(identity));
}

export const defaultClusterKeyFile = (dataDir: string): string => dataPaths(dataDir).clusterKey;
export const controlSocketOf = (dataDir: string): string => dataPaths(dataDir).controlSocket;
