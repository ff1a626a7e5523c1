/** A file that a comment or a document names is there. */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { lineAt, piecesOf } from "../../scripts/lib/pieces.ts";
import { ROOT, repositoryFiles } from "./source.ts";

const all = repositoryFiles();
const folders = new Set(
  all.flatMap((file) => file.split("/").map((_, i, parts) => parts.slice(0, i).join("/"))),
);

/** A TypeScript file with or without folders, or a path from one of the top folders. */
const CITATION =
  /(?<![\w@./:-])(?:(?:\.{1,2}\/)*(?:[\w.*{},-]+\/)*[\w.*-]+\.ts|(?:src|test|scripts|docs|assets)\/[\w./*{},-]*)(?![\w-])/g;

function exists(citation: string, from: string): boolean {
  const path = citation.replace(/[.,]+$/, "").replace(/\/$/, "");
  if (/[*{]/.test(path)) {
    const glob = new Bun.Glob(path);
    return all.some((file) => glob.match(file));
  }
  const relative = normalize(join(dirname(from), path));
  if (all.includes(relative) || folders.has(relative)) return true;
  if (folders.has(path)) return true;
  return all.some((file) => file === path || file.endsWith(`/${path}`));
}

/** The citations in a text of files that are not there, each with its line. */
const missingIn = (text: string, from: string): string[] =>
  [...text.matchAll(CITATION)]
    .filter(([citation]) => !exists(citation, from))
    .map((found) => `${from}:${lineAt(text, found.index)}: ${found[0]}`);

/** Comments alone; lines stay. */
const commentsOf = (text: string): string =>
  piecesOf(text)
    .map((p) => (p.kind === "comment" ? p.text : p.text.replace(/[^\n]/g, " ")))
    .join("");

const read = (file: string): string => readFileSync(join(ROOT, file), "utf8");

test("a comment cites only files that exist", () => {
  const sources = all.filter((file) => /^(?:src|test|scripts)\/.*\.ts$/.test(file));
  expect(sources.length).toBeGreaterThan(200);
  expect(sources.flatMap((file) => missingIn(commentsOf(read(file)), file))).toEqual([]);
});

test("a document cites only files that exist", () => {
  const documents = all.filter((file) => /^(?:docs\/.*|[^/]*)\.md$/.test(file));
  expect(documents).toContain("README.md");
  expect(documents.flatMap((file) => missingIn(read(file), file))).toEqual([]);
});

test("a citation of a missing file is found, with its line", () => {
  const from = "src/raft/core.ts";
  expect(missingIn("// see gone-for-good.ts", from)).toEqual([`${from}:1: gone-for-good.ts`]);
  expect(missingIn("/**\n * as src/raft/gone.ts does.\n */", from)).toEqual([`${from}:2: src/raft/gone.ts`]);
  expect(missingIn("the cases of test/gone/", from)).toEqual([`${from}:1: test/gone/`]);
  expect(missingIn("../base/gone.ts", from)).toHaveLength(1);
  expect(missingIn("src/gone/*.ts", from)).toHaveLength(1);
});

test("a path, a base name, a folder and a pattern of files that exist are permitted", () => {
  const from = "src/raft/core.ts";
  const text = `(src/base/clock.ts), clock.ts, base/clock.ts, ../base/clock.ts. test/raft/ and src/raft: src/base/*.ts,
    scripts/check.ts; docs/, https://example.org/src/gone.ts`;
  expect(missingIn(text, from)).toEqual([]);
  expect(commentsOf('const a = "gone.ts"; // clock.ts').trim()).toBe("// clock.ts");
});
