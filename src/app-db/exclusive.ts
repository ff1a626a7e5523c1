/** Whether another connection, of an application as a rule, has a database file open. */
import { isBusy } from "../sqlite/locked.ts";
import { openDatabase } from "../sqlite/open.ts";

/** No connection of this process may have it open. In WAL mode each connection holds a lock on the file while it is open. */
export function isOpenElsewhere(file: string): boolean {
  const db = openDatabase(file, { timeout: 0 });
  try {
    db.exec("PRAGMA locking_mode = EXCLUSIVE");
    db.exec("BEGIN EXCLUSIVE; ROLLBACK");
    return false;
  } catch (error) {
    if (isBusy(error)) return true;
    throw error;
  } finally {
    db.close();
  }
}
