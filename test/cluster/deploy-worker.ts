/**
 * One release of an application, as a process: `bun deploy-worker.ts FILE RELEASE NAME`. It migrates, then writes
 * transactions until SIGTERM, finishes the one that is open, and ends with 0. It prints the id of each committed row.
 */
import { Database } from "bun:sqlite";

const [file, release, name] = process.argv.slice(2) as [string, string, string];
const db = new Database(file, { readwrite: true, create: false });
db.exec("PRAGMA busy_timeout = 30000");

/** The expanding migration: nothing that the old release uses changes. Only what is missing is added. */
function expand(): void {
  db.transaction(() => {
    const columns = db.query("SELECT name FROM pragma_table_info('job')").values().flat();
    if (!columns.includes("owner")) db.exec("ALTER TABLE job ADD COLUMN owner TEXT NOT NULL DEFAULT 'none'");
    db.exec(
      "CREATE TABLE IF NOT EXISTS note(id TEXT PRIMARY KEY NOT NULL, job TEXT NOT NULL REFERENCES job(id))",
    );
  }).immediate();
}

if (release === "2") expand();
let over = false;
process.on("SIGTERM", () => (over = true));
const write = db.transaction((id: string) => {
  if (release === "1") {
    db.query("INSERT INTO job(id, title, legacy) VALUES(?, ?, 1)").run(id, `by ${name}`);
    db.query("UPDATE job SET title = title || '!' WHERE id = ?").run(id);
    return;
  }
  db.query("INSERT INTO job(id, title, owner) VALUES(?, ?, ?)").run(id, `by ${name}`, name);
  db.query("INSERT INTO note VALUES(?, ?)").run(`note of ${id}`, id);
});
for (let n = 0; !over; n++) {
  const id = `${name}/${n}`;
  write.immediate(id);
  process.stdout.write(`${id}\n`);
  await Bun.sleep(3);
}
db.close();
