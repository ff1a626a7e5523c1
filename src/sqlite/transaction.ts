/** The end of a transaction that is open. */
import type { DatabaseSync } from "node:sqlite";

/** Does `work` and commits; whatever it throws undoes all. */
export function commitAfter(db: DatabaseSync, work: () => void): void {
  try {
    work();
    db.exec("COMMIT");
  } catch (error) {
    // A full disk makes SQLite roll back by itself.
    if (db.isTransaction) db.exec("ROLLBACK");
    throw error;
  }
}
