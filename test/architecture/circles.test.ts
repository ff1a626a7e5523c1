/** No circle of imports, types included: neither between files nor between folders. */
import { expect, test } from "bun:test";
import { dirname } from "node:path";
import { importsOf } from "../../scripts/lib/pieces.ts";
import { files, sourceOf, targetOf } from "./source.ts";

type Graph = ReadonlyMap<string, ReadonlySet<string>>;

/** The strongly connected components with more than one node (Tarjan 1972), each sorted. */
function circlesOf(graph: Graph): string[][] {
  const index = new Map<string, number>();
  const low = new Map<string, number>();
  const stack: string[] = [];
  const found: string[][] = [];
  const visit = (node: string): number => {
    const own = index.size;
    index.set(node, own);
    low.set(node, own);
    stack.push(node);
    for (const next of graph.get(node) ?? []) {
      const reached = index.has(next) ? (stack.includes(next) ? index.get(next)! : own) : visit(next);
      low.set(node, Math.min(low.get(node)!, reached));
    }
    if (low.get(node) === own) {
      const circle = stack.splice(stack.indexOf(node));
      if (circle.length > 1) found.push(circle.sort());
    }
    return low.get(node)!;
  };
  for (const node of graph.keys()) if (!index.has(node)) visit(node);
  return found;
}

const imported = (file: string): string[] =>
  importsOf(sourceOf(file))
    .filter((target) => target.startsWith("."))
    .map((target) => targetOf(file, target));

/** A folder is a node of its own; its subfolders are others. */
function foldersOf(graph: Graph): Graph {
  const folders = new Map<string, Set<string>>();
  for (const [file, targets] of graph) {
    const from = dirname(file);
    if (!folders.has(from)) folders.set(from, new Set());
    for (const target of targets) if (dirname(target) !== from) folders.get(from)!.add(dirname(target));
  }
  return folders;
}

const graph: Graph = new Map(
  files.map((file) => [file, new Set(imported(file).filter((target) => files.includes(target)))]),
);
const isOfCli = (path: string): boolean => path === "cli" || path.startsWith("cli/");

test("no circle of imports between files", () => {
  expect([...graph.values()].some((targets) => targets.size > 5)).toBe(true);
  expect(circlesOf(graph)).toEqual([]);
});

test("no circle of imports between folders, the command and its verbs excepted", () => {
  expect(circlesOf(foldersOf(graph)).filter((circle) => !circle.every(isOfCli))).toEqual([]);
});

test("a circle is found with all of its members, also by way of a third file", () => {
  const of = (edges: Record<string, string[]>): Graph =>
    new Map(Object.entries(edges).map(([from, to]) => [from, new Set(to)]));
  expect(circlesOf(of({ a: ["b"], b: ["c"], c: [] }))).toEqual([]);
  expect(circlesOf(of({ a: ["b", "c"], b: ["c"], c: [] }))).toEqual([]);
  expect(circlesOf(of({ a: ["b"], b: ["a"] }))).toEqual([["a", "b"]]);
  expect(circlesOf(of({ x: ["a"], a: ["b"], b: ["c"], c: ["a"], y: ["c"] }))).toEqual([["a", "b", "c"]]);
});

test("a circle of folders is found although no file is in a circle", () => {
  const files: Graph = new Map([
    ["a/one.ts", new Set(["b/two.ts"])],
    ["b/two.ts", new Set()],
    ["b/three.ts", new Set(["a/four.ts"])],
    ["a/four.ts", new Set()],
  ]);
  expect(circlesOf(files)).toEqual([]);
  expect(circlesOf(foldersOf(files))).toEqual([["a", "b"]]);
});
