/** The house of rooms as a test: who imports whom, types included, and what the pure rooms may not touch. */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";

const SOURCE = join(import.meta.dir, "../../src");

/** Which room may import which: dependencies point inward, adapters never import each other. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
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
  main: ["cli"],
};

/** Rooms that compute and do nothing else. */
const PURE = ["raft", "routing", "change"];
/** The edge: arguments, environment, exit codes, console. */
const EDGE = ["cli", "main"];
const AMBIENT =
  /(?<![.\w$])(?:Date|performance|process|console|globalThis|crypto|fetch|queueMicrotask|set(?:Timeout|Interval|Immediate)|Math\s*\.\s*random|new\s+Promise|async|await|Bun(?!\s*\.\s*hash\b))(?![\w$])/;
/** I/O by import; the others' modules of a runtime are values and types. */
const MODULES_OF_PURE = /^(?:\.|msgpackr$|xxhashjs$)/;
const LIBP2P = /^(?:libp2p|@libp2p\/|@chainsafe\/|@multiformats\/)/;
/** Files that are embedded: what they are stands in their names. */
const ENDINGS = [".ts", ".html", ".sql"];

const files = [...new Bun.Glob("**/*.ts").scanSync({ cwd: SOURCE })]
  .filter((f) => !f.endsWith(".d.ts"))
  .sort();
const roomOf = (file: string): string =>
  file.includes("/") ? file.split("/")[0]! : file.replace(/\.ts$/, "");

/** Strings, templates and comments: whatever comes first is one whole. */
const STRING_OR_COMMENT =
  /("(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`(?:[^`\\]|\\[\s\S])*`)|\/\*[\s\S]*?\*\/|\/\/[^\n]*/g;

const withoutComments = (text: string): string =>
  text.replace(STRING_OR_COMMENT, (_all, string: string | undefined) => string ?? " ");
/** Prose in strings cannot offend; what a template computes can. */
const withoutProse = (text: string): string =>
  text.replace(STRING_OR_COMMENT, (_all, string: string | undefined) =>
    string?.startsWith("`") ? (string.match(/\$\{[^}]*\}/g) ?? []).join(" ") : '""',
  );
const sourceOf = (file: string): string => readFileSync(join(SOURCE, file), "utf8");

/** Of `import … from`, `export … from`, `import "…"`, `import("…")`, `import("…").Type`, `require("…")`. */
const importsOf = (text: string): string[] =>
  [...withoutComments(text).matchAll(/\b(?:from|import|require)\s*\(?\s*["'`]([^"'`]+)["'`]/g)].map(
    (m) => m[1]!,
  );

/** What is wrong with the imports of a file of that room. */
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
    const path = relative(SOURCE, resolve(dirname(join(SOURCE, file)), target));
    if (path.startsWith("..")) {
      if (!(room === "cli" && path.startsWith("../assets/"))) wrong.push(`${file} imports ${target}`);
      continue;
    }
    const other = roomOf(path);
    if (other !== room && !MAY_IMPORT[room]?.includes(other))
      wrong.push(`${file} (${room}) imports ${path} (${other})`);
  }
  return wrong;
}

const usesAmbient = (text: string): boolean => AMBIENT.test(withoutProse(text));
const usesProcess = (text: string): boolean =>
  /(?<![.\w$])(?:console\s*\.|process\s*\.\s*(?:argv|env|exit|exitCode|stdin|stdout|stderr|on)\b|Bun\s*\.\s*(?:argv|env|stdin|stdout|stderr)\b)/.test(
    withoutProse(text),
  );

test("there is source to look at, in every room, and every room is in the table", () => {
  expect(files.length).toBeGreaterThan(80);
  expect(new Set(files.map(roomOf))).toEqual(new Set(Object.keys(MAY_IMPORT)));
});

test("imports point inward", () => {
  expect(files.flatMap((file) => wrongImports(file, sourceOf(file)))).toEqual([]);
});

test("the pure rooms use no ambient time, chance, timers, promises, console or process", () => {
  expect(files.filter((file) => PURE.includes(roomOf(file)) && usesAmbient(sourceOf(file)))).toEqual([]);
});

test("arguments, environment, exit codes and console are the command's alone", () => {
  expect(files.filter((file) => !EDGE.includes(roomOf(file)) && usesProcess(sourceOf(file)))).toEqual([]);
  // Even there results and messages go through the context that a verb is given.
  expect(
    files.filter((file) => file !== "main.ts" && /\bconsole\./.test(withoutProse(sourceOf(file)))),
  ).toEqual([]);
});

test("what is wrong is found", () => {
  const offends = (file: string, text: string): boolean => wrongImports(file, text).length > 0;
  expect(offends("raft/a.ts", 'import type { X } from "../shard/b.ts";')).toBe(true);
  expect(offends("raft/a.ts", 'export { x } from "../shard/b.ts";')).toBe(true);
  expect(offends("raft/a.ts", 'let x: import("../node/b.ts").X;')).toBe(true);
  expect(offends("raft/a.ts", 'import fs from "node:fs";')).toBe(true);
  expect(offends("raft/a.ts", 'import { assert } from "../base/assert.ts"; // from "../node/x.ts"')).toBe(
    false,
  );
  expect(offends("node/a.ts", 'const x = await import("../cli/main.ts");')).toBe(true);
  expect(offends("shard/a.ts", 'import { x } from "@libp2p/tcp";')).toBe(true);
  expect(offends("shard/a.ts", 'import { x } from "./b";')).toBe(true);
  expect(offends("shard/a.ts", 'import { x } from "../../assets/x.sql";')).toBe(true);
  for (const text of [
    "const t = Date.now();",
    "const r = Math.random();",
    "const { now } = performance;",
    "setTimeout(f, 1);",
    "globalThis.setTimeout(f, 1);",
    "process.env.X;",
    "const p = `${Math.random()}`;",
    "Bun.sleepSync(1);",
    "async function f() {}",
  ])
    expect([text, usesAmbient(text)]).toEqual([text, true]);
  for (const text of [
    "// a Date, as setTimeout has it",
    'const s = "process.env";',
    "entry.process(1);",
    "Bun.hash.xxHash32(x);",
    "const setTimeouts = 1;",
    "const url = 'http://x'; /* performance */",
  ])
    expect([text, usesAmbient(text)]).toEqual([text, false]);
  expect(usesProcess("process.stdout.write(x)")).toBe(true);
  expect(usesProcess('if (process.platform === "win32") x();')).toBe(false);
});
