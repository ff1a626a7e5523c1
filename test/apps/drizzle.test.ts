/** Drizzle on bun:sqlite: tasks, with the migrations that drizzle-kit made of the two schemas. */
import { join } from "node:path";
import { install } from "./packages.ts";
import { tryApplication } from "./suite.ts";

const FOLDER = join(import.meta.dir, "drizzle");
const { folder, missing } = await install({
  name: "drizzle",
  version: [process.execPath, "--version"],
  from: FOLDER,
  files: ["package.json", "bun.lock"],
  commands: [[process.execPath, "install", "--frozen-lockfile"]],
});

tryApplication({
  name: "Drizzle",
  missing,
  rounds: 20,
  command: (release, verb, db, ...args) => ({
    words: [process.execPath, "tasks.js", String(release), db, verb, ...args],
    folder: FOLDER,
    environment: { NODE_PATH: `${folder}/node_modules` },
  }),
  insertOld: (name) =>
    `INSERT INTO tasks(project_id, title, estimate, old_code) SELECT id, '${name}', 1, substr(title, 12) FROM projects ORDER BY title LIMIT 1`,
  oldIsKept: true,
  names: "SELECT title FROM tasks",
});
