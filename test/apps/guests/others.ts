/** Libraries of the registries of npm and Go. */
import { join } from "node:path";
import { install } from "../packages.ts";
import type { Guest } from "./guest.ts";

const TYPEORM = join(import.meta.dir, "typeorm");
const SQLITE_VEC = join(import.meta.dir, "sqlite-vec");
const POCKETBASE = join(import.meta.dir, "pocketbase");

type Script = Omit<Guest, "name" | "install" | "command"> & { readonly script: string };

/** A program for Bun with the packages of its lock file. */
const script = (name: string, from: string, { script: file, ...rest }: Script): Guest => ({
  name,
  install: () =>
    install({
      ...{ name, from, version: [process.execPath, "--version"], files: ["package.json", "bun.lock"] },
      commands: [[process.execPath, "install", "--frozen-lockfile"]],
    }),
  command: (folder, verb, db, ...args) => ({
    words: [process.execPath, file, verb, db, ...args],
    folder: from,
    environment: { NODE_PATH: `${folder}/node_modules` },
  }),
  ...rest,
});

export const OTHER_GUESTS: readonly Guest[] = [
  script("typeorm", TYPEORM, {
    title: "TypeORM 1.1.1 on Bun's SQLite, with migrations",
    script: "library_app.js",
    writers: "all",
  }),
  script("sqlite-vec", SQLITE_VEC, {
    title: "sqlite-vec 0.1.9, whose index each node keeps for itself",
    script: "notes_app.js",
    writers: "all",
    local: ["note_index"],
    shadows: ["info", "chunks", "rowids", "vector_chunks00"].map((suffix) => `note_index_${suffix}`),
    migrateBefore: true,
    migrateEverywhere: true,
  }),
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
