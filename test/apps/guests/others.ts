/** Libraries of the registries of npm and Go. */
import { join } from "node:path";
import { install } from "../packages.ts";
import type { Guest } from "./guest.ts";

const TYPEORM = join(import.meta.dir, "typeorm");
const POCKETBASE = join(import.meta.dir, "pocketbase");

export const OTHER_GUESTS: readonly Guest[] = [
  {
    name: "typeorm",
    title: "TypeORM 1.1.1 on Bun's SQLite, with migrations",
    install: () =>
      install({
        name: "typeorm",
        version: [process.execPath, "--version"],
        from: TYPEORM,
        files: ["package.json", "bun.lock"],
        commands: [[process.execPath, "install", "--frozen-lockfile"]],
      }),
    command: (folder, verb, db, ...args) => ({
      words: [process.execPath, "library_app.js", verb, db, ...args],
      folder: TYPEORM,
      environment: { NODE_PATH: `${folder}/node_modules` },
    }),
    writers: "all",
  },
  {
    name: "pocketbase",
    title: "PocketBase 0.38.2 as a Go library",
    install: () =>
      install({
        name: "pocketbase",
        version: ["go", "version"],
        from: POCKETBASE,
        files: ["go.mod", "go.sum", "main.go"],
        commands: [["go", "build", "-mod=readonly", "-o", "%/site", "."]],
        environment: { GOTOOLCHAIN: "local" },
      }),
    command: (folder, verb, db, ...args) => ({
      words: [`${folder}/site`, verb, db, ...args],
      folder: POCKETBASE,
    }),
    writers: "all",
    // Each node's first start notes the migration of its own auxiliary.db again.
    conflicts: "any",
  },
];
