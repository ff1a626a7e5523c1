/** `marmot repair` while the node is stopped. */
import { existsSync } from "node:fs";
import { nextTurn, systemClock } from "../../base/clock.ts";
import { UserError } from "../../base/errors.ts";
import type { FileRepair } from "../../operations/api.ts";
import { dataPaths } from "../../replication/machine/data-paths.ts";
import { lockDataDir } from "../data-dir.ts";
import { readPeerId } from "../keys.ts";
import { repairFile } from "../file/repair-file.ts";
import { inspectFile } from "../file/inspect-file.ts";

/** Throws `UserError` while a node runs on the data directory, and for a file that needs no repair. */
export async function repairDatabase(db: string, dataDir: string): Promise<FileRepair> {
  const paths = dataPaths(dataDir);
  if (!existsSync(paths.replica))
    throw new UserError(
      `${dataDir} holds no replica from which ${db} could be built`,
      "check --db and --data-dir, or start the node with --peers to receive the file from a cluster",
    );
  const peerId = await readPeerId(dataDir);
  const lock = lockDataDir(paths);
  try {
    const verdict = await inspectFile({ file: db, paths, peerId, isSuspect: true, pause: nextTurn });
    if (verdict.kind !== "halt")
      throw new UserError(
        `${db} needs no repair`,
        "start the node with marmot run, and compare with marmot verify",
      );
    return await repairFile(
      { db, paths, peerId },
      { wallTime: () => systemClock.wallTime(), onProgress: () => {} },
    );
  } finally {
    lock.close();
  }
}
