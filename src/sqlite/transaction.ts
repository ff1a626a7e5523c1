/** Ends an open transaction. */
import type { DatabaseSync } from "node:sqlite";

/** Runs `work` and commits; an error rolls everything back. */
export function commitAfter(db: DatabaseSync, work: () => void): void {
  try {
    work();
    db.exec("COMMIT");
  } catch (error) {
    // On a full disk SQLite rolls back automatically.
    if (db.isTransaction) db.exec("ROLLBACK");
    throw error;
  }
}
