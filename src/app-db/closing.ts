/** The end of a replicator's connections to the app database: in order, or not at all. */
import { errorMessage } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import type { AppDbConnection } from "../reflect/app-db-connection.ts";
import type { OpenReplica } from "../replica/open-replica.ts";
import { writeFileNote } from "../replica/store/file-note.ts";

/** Keeps connections from the garbage collector, which would close them. */
const ABANDONED: unknown[] = [];

/**
 * The owner's connections to the app database stay open as long as the process lives: SQLite would write their WAL, which was
 * removed, over the file that others write by now.
 */
export const neverClose = (owner: unknown): void => void ABANDONED.push(owner);

export interface StoppedFile {
  readonly replica: OpenReplica;
  readonly appDb: AppDbConnection;
  readonly appDbFile: { sync(): void; look(): string | null };
}

/** Notes the state of the file in the replica, so that the next start need not check it. */
export function noteStop({ replica, appDb, appDbFile }: StoppedFile, logger: Logger): void {
  if (!replica.replica.betweenEntries) return;
  try {
    const life = appDb.life.current;
    if (life === null || appDbFile.look() !== null) return;
    appDbFile.sync();
    writeFileNote(replica.db, life);
  } catch (error) {
    logger.warn("the state of the file could not be noted", { error: errorMessage(error) });
  }
}

/** The next start need not read the parts of an unfinished changeset again. */
export function storeReplica({ replica }: OpenReplica, logger: Logger): void {
  try {
    replica.store();
  } catch (error) {
    logger.warn("the replica's file stays behind, as after a crash", { error: errorMessage(error) });
  }
}
