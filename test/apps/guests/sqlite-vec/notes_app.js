/**
 * Notes with embeddings: the vectors replicate as BLOBs, and each node keeps its own index of them, a virtual table of
 * sqlite-vec.
 *
 *   bun notes_app.js migrate | fill | report | check FILE [WHO]
 */
import { Database } from "bun:sqlite";
import { createHash, randomUUID } from "node:crypto";
import { load } from "sqlite-vec";

const ROUNDS = 20;
const DIMENSIONS = 8;
const [verb, file, who] = process.argv.slice(2);

const db = new Database(file, { create: true });
load(db);
db.run("PRAGMA busy_timeout = 20000");

/** Eight numbers of 0 to 1 that a text determines. */
function embed(text) {
  const bytes = createHash("sha256").update(text).digest();
  return new Float32Array(Array.from({ length: DIMENSIONS }, (_, i) => bytes[i] / 255));
}

/** Brings this node's index up to the notes of all nodes. */
const index = db.transaction(() => {
  db.run("DELETE FROM note_index WHERE id NOT IN (SELECT id FROM note)");
  db.run(`INSERT INTO note_index (id, embedding)
    SELECT id, embedding FROM note WHERE id NOT IN (SELECT id FROM note_index)`);
});

const verbs = {
  migrate() {
    db.run(
      "CREATE TABLE IF NOT EXISTS note (id TEXT PRIMARY KEY, body TEXT NOT NULL, embedding BLOB NOT NULL)",
    );
    db.run(
      `CREATE VIRTUAL TABLE IF NOT EXISTS note_index USING vec0(id TEXT PRIMARY KEY, embedding float[${DIMENSIONS}])`,
    );
  },
  fill() {
    const insert = db.prepare("INSERT INTO note VALUES (?, ?, ?)");
    const write = db.transaction((body) => insert.run(randomUUID(), body, embed(body)));
    for (let i = 0; i < ROUNDS; i++) write.immediate(`note ${i} of ${who}`);
    db.run("DELETE FROM note WHERE body = ?", [`note 3 of ${who}`]);
    index.immediate();
    return { kept: ROUNDS - 1 };
  },
  report() {
    index.immediate();
    const near =
      db.prepare(`SELECT note.body, round(distance, 6) AS distance FROM note_index JOIN note USING (id)
      WHERE note_index.embedding MATCH ? AND k = 5 ORDER BY distance`);
    return {
      kept: db.prepare("SELECT count(*) AS n FROM note").get().n,
      indexed: db.prepare("SELECT count(*) AS n FROM note_index").get().n,
      near: ["bread", "water", "stone"].map((text) => near.all(embed(text))),
    };
  },
  check() {
    const found = db
      .prepare("PRAGMA integrity_check")
      .values()
      .map(([text]) => text);
    if (found.join() !== "ok") throw new Error(found.join("\n"));
    for (const { body, embedding } of db.prepare("SELECT body, embedding FROM note").all())
      if (!Buffer.from(embed(body).buffer).equals(Buffer.from(embedding))) throw new Error(body);
  },
};
const result = verbs[verb]();
if (result !== undefined) console.log(JSON.stringify(result));
