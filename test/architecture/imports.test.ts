/** The direction of imports between rooms, types included, and which packages a room may use. */
import { expect, test } from "bun:test";
import { importsOf } from "../../scripts/lib/pieces.ts";
import { files, roomOf, sourceOf, targetOf } from "./source.ts";

/** Floors, top down. A room imports only from lower floors, never from a room on its own floor. */
const FLOORS: readonly (readonly string[])[] = [
  ["main"],
  ["cli"],
  ["admin", "node"],
  ["operations"],
  ["replication"],
  ["schema-sync"],
  ["app-db", "archive"],
  ["capture", "reflect", "replica"],
  ["log-store", "transport", "snapshot", "schema"],
  ["shard", "rows"],
  ["raft", "change", "sqlite", "routing"],
  ["base"],
];

/** The rooms below that a room may import. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  base: [],
  sqlite: ["base"],
  change: ["base"],
  routing: ["base"],
  raft: ["base"],
  shard: ["raft", "base"],
  rows: ["change", "sqlite", "base"],
  "log-store": ["shard", "raft", "sqlite", "base"],
  transport: ["shard", "raft", "base"],
  snapshot: ["shard", "sqlite", "base"],
  schema: ["rows", "change", "sqlite", "base"],
  capture: ["schema", "rows", "change", "sqlite", "base"],
  reflect: ["schema", "rows", "change", "sqlite", "base"],
  replica: ["schema", "shard", "rows", "raft", "change", "sqlite", "routing", "base"],
  "app-db": ["capture", "reflect", "replica", "schema", "rows", "change", "sqlite", "base"],
  archive: ["replica", "schema", "shard", "rows", "raft", "change", "sqlite", "base"],
  "schema-sync": [
    ...["app-db", "capture", "reflect", "replica"],
    ...["schema", "rows", "change", "sqlite", "base"],
  ],
  replication: [
    ...["schema-sync", "app-db", "capture", "reflect", "replica", "log-store", "transport", "snapshot"],
    ...["schema", "shard", "rows", "raft", "change", "sqlite", "base"],
  ],
  operations: [
    ...["replication", "app-db", "archive", "replica", "schema", "shard"],
    ...["rows", "change", "sqlite", "base"],
  ],
  node: [
    ...["operations", "replication", "schema-sync", "app-db", "archive", "capture", "reflect", "replica"],
    ...["log-store", "transport", "snapshot", "schema", "shard", "rows", "raft", "change", "sqlite", "base"],
  ],
  admin: ["operations", "base"],
  cli: ["admin", "node", "operations", "replication", "base"],
  main: ["cli"],
};

/** Rooms that compute and do nothing else: no I/O by import, only values and types of these packages. */
const PURE = ["raft", "routing", "change"];
const MODULES_OF_PURE = /^(?:\.|msgpackr$|xxhashjs$)/;
const LIBP2P = /^(?:libp2p|@libp2p\/|@chainsafe\/|@multiformats\/)/;
/** The ending says how a file is embedded. */
const ENDINGS = [".ts", ".html", ".sql", ".css", ".js"];

/** The imports of a file that break a rule, a line each. */
function wrongImports(file: string, text: string): string[] {
  const room = roomOf(file);
  const wrong: string[] = [];
  for (const target of importsOf(text)) {
    if (PURE.includes(room) && !MODULES_OF_PURE.test(target)) wrong.push(`${file} (pure) imports ${target}`);
    if (!target.startsWith(".")) {
      if (LIBP2P.test(target) && room !== "transport")
        wrong.push(`${file} imports ${target}: only transport knows libp2p`);
      continue;
    }
    if (!ENDINGS.some((ending) => target.endsWith(ending)))
      wrong.push(`${file} imports ${target} without its ending`);
    const path = targetOf(file, target);
    if (path.startsWith("..")) {
      // The demo's database is embedded in the binary.
      if (!(room === "cli" && path.startsWith("../assets/"))) wrong.push(`${file} imports ${target}`);
      continue;
    }
    const other = roomOf(path);
    if (other !== room && !MAY_IMPORT[room]?.includes(other))
      wrong.push(`${file} (${room}) imports ${path} (${other})`);
  }
  return wrong;
}

/** Permissions that do not point down, a line each. */
function wrongPermissions(floors: typeof FLOORS, mayImport: typeof MAY_IMPORT): string[] {
  const floorOf = (room: string): number => floors.findIndex((rooms) => rooms.includes(room));
  return Object.entries(mayImport).flatMap(([room, others]) =>
    others.filter((other) => floorOf(other) <= floorOf(room)).map((other) => `${room} may import ${other}`),
  );
}

test("every room of src is on one floor and in the table", () => {
  const rooms = [...new Set(files.map(roomOf))].sort();
  expect(rooms.length).toBeGreaterThan(10);
  expect(FLOORS.flat().sort()).toEqual(rooms);
  expect(Object.keys(MAY_IMPORT).sort()).toEqual(rooms);
});

test("the table permits only imports from lower floors", () => {
  expect(wrongPermissions(FLOORS, MAY_IMPORT)).toEqual([]);
});

test("files import only from their own room and from permitted rooms", () => {
  expect(files.flatMap((file) => wrongImports(file, sourceOf(file)))).toEqual([]);
});

test("a permission that points up or sideways is found", () => {
  const floors = [["cli"], ["node", "admin"], ["base"]];
  expect(wrongPermissions(floors, { cli: ["node", "base"], node: ["base"], base: [] })).toEqual([]);
  expect(wrongPermissions(floors, { base: ["node"] })).toEqual(["base may import node"]);
  expect(wrongPermissions(floors, { node: ["admin"] })).toEqual(["node may import admin"]);
});

test("an import against the table is found, in every form of import", () => {
  const offends = (file: string, text: string): boolean => wrongImports(file, text).length > 0;
  expect(offends("raft/a.ts", 'import type { X } from "../shard/b.ts";')).toBe(true);
  expect(offends("raft/a.ts", 'export { x } from "../shard/b.ts";')).toBe(true);
  expect(offends("raft/a.ts", 'let x: import("../node/b.ts").X;')).toBe(true);
  expect(offends("node/a.ts", 'const x = await import("../cli/main.ts");')).toBe(true);
  expect(offends("raft/a.ts", 'import { assert } from "../base/assert.ts"; // from "../node/x.ts"')).toBe(
    false,
  );
});

test("I/O in a pure room, libp2p outside of transport, a missing ending and a path out of src are found", () => {
  const offends = (file: string, text: string): boolean => wrongImports(file, text).length > 0;
  expect(offends("raft/a.ts", 'import fs from "node:fs";')).toBe(true);
  expect(offends("shard/a.ts", 'import { x } from "@libp2p/tcp";')).toBe(true);
  expect(offends("shard/a.ts", 'import { x } from "./b";')).toBe(true);
  expect(offends("cli/a.ts", 'import { x } from "../data/x.sql";')).toBe(true);
  expect(offends("cli/a.ts", 'import { x } from "../../assets/x.sql";')).toBe(false);
  expect(offends("shard/a.ts", 'import { x } from "../../assets/x.sql";')).toBe(true);
});
