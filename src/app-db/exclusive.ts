/** Whether another connection, of an application as a rule, has a database file open. */
import { isBusy } from "../sqlite/locked.ts";
import { openAppDb } from "../sqlite/open-app-db.ts";

/** No connection of this process may have it open. In WAL mode each connection holds a lock on the file while it is open. */
export function isOpenElsewhere(file: string): boolean {
  const db = openAppDb(file, { timeout: 0 });
  try {
    db.exec("PRAGMA locking_mode = EXCLUSIVE");
    db.prepare("SELECT count(*) FROM sqlite_schema").get();
    return false;
  } catch (error) {
    if (isBusy(error)) return true;
    throw error;
  } finally {
    db.close();
  }
}
