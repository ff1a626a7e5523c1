/** A Go program on the pure-Go SQLite, of another version than ours, with goose's migrations. */
import { join } from "node:path";
import { install } from "./packages.ts";
import { tryApplication } from "./suite.ts";

const FOLDER = join(import.meta.dir, "modernc");
const migrations = [...new Bun.Glob("migrations/*.sql").scanSync({ cwd: FOLDER })].sort();
const { folder, missing } = await install({
  name: "modernc",
  version: ["go", "version"],
  from: FOLDER,
  files: ["go.mod", "go.sum", "main.go", ...migrations],
  commands: [["go", "build", "-mod=readonly", "-o", "%/bank", "."]],
  environment: { GOTOOLCHAIN: "local" },
});

tryApplication({
  name: "Go's SQLite",
  missing,
  rounds: 20,
  command: (release, verb, db, ...args) => ({
    words: [`${folder}/bank`, String(release), db, verb, ...args],
    folder: FOLDER,
  }),
  insertOld: (name) => `INSERT INTO account(owner, number, balance) VALUES('${name}', 1, 1000)`,
  oldIsKept: false,
  names: "SELECT owner FROM account",
});
