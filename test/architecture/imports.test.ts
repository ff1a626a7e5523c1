import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";

const SOURCE = join(import.meta.dir, "../../src");

/** Which room may import which: dependencies point inward, adapters never import each other. */
const MAY_IMPORT: Record<string, readonly string[]> = {
  base: [],
  sqlite: ["base"],
  change: ["base"],
  routing: ["change", "base"],
  raft: ["base"],
  shard: ["raft", "change", "base"],
  "log-store": ["raft", "shard", "sqlite", "base"],
  transport: ["raft", "shard", "base"],
  schema: ["change", "sqlite", "base"],
  capture: ["change", "schema", "sqlite", "base"],
  replica: ["change", "routing", "schema", "shard", "raft", "sqlite", "base"],
  reflect: ["change", "schema", "sqlite", "base"],
  snapshot: ["routing", "shard", "sqlite", "base"],
  node: [
    ...["base", "sqlite", "change", "routing", "raft", "shard", "log-store", "transport", "schema"],
    ...["capture", "replica", "reflect", "snapshot"],
  ],
  admin: ["node", "base"],
  cli: ["node", "admin", "base"],
};

/** Rooms that compute and do nothing else. */
const PURE = ["raft", "routing", "change"];
const AMBIENT =
  /\b(?:Date\b|Math\.random|performance\.|setTimeout|setInterval|setImmediate|queueMicrotask|process\.|console\.)/;
const LIBP2P = /^(?:libp2p|@libp2p\/|@chainsafe\/|@multiformats\/)/;

const files = [...new Bun.Glob("**/*.ts").scanSync({ cwd: SOURCE })].filter((f) => !f.endsWith(".d.ts"));
const roomOf = (file: string): string => (file.includes("/") ? file.split("/")[0]! : "main");

/** Code without comments, so that prose cannot offend. */
const codeOf = (file: string): string =>
  readFileSync(join(SOURCE, file), "utf8")
    .replace(/\/\*[\s\S]*?\*\//g, "")
    .replace(/(^|\s)\/\/.*$/gm, "");

function importsOf(file: string): string[] {
  const code = codeOf(file);
  const found = [...code.matchAll(/(?:from|import)\s*\(?\s*["']([^"']+)["']/g)].map((m) => m[1]!);
  return found;
}

test("there is source to look at, in every room", () => {
  expect(files.length).toBeGreaterThan(80);
  expect(new Set(files.map(roomOf))).toEqual(new Set([...Object.keys(MAY_IMPORT), "main"]));
});

test("imports point inward", () => {
  const wrong: string[] = [];
  for (const file of files) {
    const room = roomOf(file);
    if (room === "main") continue;
    for (const target of importsOf(file)) {
      if (!target.startsWith(".")) {
        if (LIBP2P.test(target) && room !== "transport")
          wrong.push(`${file} imports ${target}: only transport knows libp2p`);
        continue;
      }
      const path = relative(SOURCE, resolve(dirname(join(SOURCE, file)), target));
      if (path.startsWith("..")) {
        if (!path.startsWith("../test/data/")) wrong.push(`${file} imports ${target}`);
        continue;
      }
      const other = roomOf(path);
      if (other !== room && !MAY_IMPORT[room]!.includes(other))
        wrong.push(`${file} (${room}) imports ${path} (${other})`);
      if (!target.endsWith(".ts") && !target.endsWith(".html"))
        wrong.push(`${file} imports ${target} without its ending`);
    }
  }
  expect(wrong).toEqual([]);
});

test("the pure rooms use no ambient time, chance, timers or console", () => {
  const wrong = files.filter((f) => PURE.includes(roomOf(f)) && AMBIENT.test(codeOf(f)));
  expect(wrong).toEqual([]);
});

test("nobody but the command writes to the console", () => {
  const wrong = files.filter((f) => !["cli", "main"].includes(roomOf(f)) && /\bconsole\./.test(codeOf(f)));
  expect(wrong).toEqual([]);
});
