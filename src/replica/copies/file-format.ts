/** The format of a file apart from its tables: the size of its pages, and whether freed pages go back to the disk. */
import type { DatabaseSync } from "node:sqlite";

/** Gives the main database, before anything is written to it, the format of an attached one. */
export function copyFormat(db: DatabaseSync, attached: "live" | "replica"): void {
  const read = (name: string): number =>
    Number(Object.values(db.prepare(`PRAGMA ${attached}.${name}`).get() as Record<string, unknown>)[0]);
  db.exec(`PRAGMA main.page_size = ${read("page_size")}; PRAGMA main.auto_vacuum = ${read("auto_vacuum")}`);
}
