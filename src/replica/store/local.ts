/** Facts of the node that owns a replica, kept in the replica beside the replicated state. */
import type { DatabaseSync } from "node:sqlite";

/** A fact of this node by its name; null: it was never stored. */
export function readLocal(db: DatabaseSync, name: string): string | null {
  const row = db.prepare(`SELECT "value" FROM "__marmot__local_node" WHERE "name" = ?`).get(name);
  return row === undefined ? null : String(row.value);
}

export function writeLocal(db: DatabaseSync, name: string, value: string): void {
  db.prepare(`INSERT OR REPLACE INTO "__marmot__local_node" VALUES(?, ?)`).run(name, value);
}
