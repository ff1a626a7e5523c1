/** `marmot members recover` while the node is stopped. */
import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { UserError } from "../../base/errors.ts";
import type { Recovery } from "../../operations/api.ts";
import { dataPaths } from "../../replication/machine/data-paths.ts";
import { loadIdentity, peerIdOf, signText } from "../../transport/identity.ts";
import { lockDataDir } from "../data-dir.ts";
import { recoverFiles } from "../recovery/recover-files.ts";

const ID_BYTES = 16;

/** `plan`: only says the effects. Throws `UserError`. */
export async function recoverStopped(
  db: string,
  dataDir: string,
  { plan }: { readonly plan: boolean },
): Promise<Recovery> {
  const paths = dataPaths(dataDir);
  if (!existsSync(paths.identity))
    throw new UserError(`${dataDir} holds no member of a cluster`, "check --db and --data-dir");
  const key = await loadIdentity(paths.identity);
  const lock = lockDataDir(paths);
  try {
    const signer = { id: randomBytes(ID_BYTES).toString("hex"), sign: (text: string) => signText(key, text) };
    return await recoverFiles({ db, paths, peerId: peerIdOf(key) }, plan ? null : signer);
  } finally {
    lock.close();
  }
}
