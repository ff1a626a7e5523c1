/** From five parameters on a function takes one object. */
import { expect, test } from "bun:test";
import { codeOf, lineAt } from "../../scripts/lib/pieces.ts";
import { files, sourceOf } from "./source.ts";

const AT_MOST = 4;

/** The parts of a parenthesis between its outermost commas, and the position after it; null: it is not closed. */
function partsAt(code: string, open: number): { parts: string[]; end: number } | null {
  const parts: string[] = [];
  let depth = 0;
  let from = open + 1;
  for (let at = open; at < code.length; at++) {
    const character = code[at]!;
    // Of `=>` and `>=` the angle closes nothing.
    if ("([{<".includes(character)) depth++;
    else if (")]}".includes(character) || (character === ">" && code[at - 1] !== "=" && code[at + 1] !== "="))
      depth--;
    else if (character === "," && depth === 1) {
      parts.push(code.slice(from, at));
      from = at + 1;
    }
    if (depth > 0) continue;
    const last = code.slice(from, at);
    return { parts: last.trim() === "" ? parts : [...parts, last], end: at + 1 };
  }
  return null;
}

/** With a type, as every parameter has that is not inferred from the place of its function. */
const TYPED =
  /^\s*(?:(?:public|private|protected|readonly|override)\s+)*(?:\.\.\.)?(?:[\w$]+\??|\{[\s\S]*?\}|\[[\s\S]*?\])\s*:/;

/** Lists of five parameters or more, with their lines: of functions, methods, constructors and types of functions. */
function longLists(text: string): string[] {
  const code = codeOf(text);
  const found: string[] = [];
  for (let open = code.indexOf("("); open >= 0; open = code.indexOf("(", open + 1)) {
    const list = partsAt(code, open);
    if (list === null || list.parts.length <= AT_MOST) continue;
    const isArrow = /^\s*=>/.test(code.slice(list.end, list.end + 40));
    const isTyped = list.parts.every((part) => TYPED.test(part));
    if (isArrow || isTyped) found.push(`${lineAt(code, open)}: ${list.parts.length} parameters`);
  }
  return found;
}

test("no function, method, constructor or type of a function has five parameters", () => {
  const wrong = files.flatMap((file) => longLists(sourceOf(file)).map((line) => `src/${file}:${line}`));
  expect(wrong).toEqual([]);
});

test("a fifth parameter is found in every form of a function", () => {
  for (const text of [
    "function f(a: number, b: string, c: Map<string, number>, d: boolean, e?: Date): void {}",
    "const f = (a: A, b: B, c: C, d: D, ...rest: E[]): void => {};",
    "list.forEach((a, b, c, d, e) => a + b + c + d + e);",
    "class A { constructor(private readonly a: A, b: B, c: C, d: D, { e, f }: E) {} }",
    "class A { async method<T>(a: A, b: B, c: (x: X, y: Y) => Z, d: D, e: T): Promise<void> {} }",
    "interface A { method(a: A, b: B, c: C, d: D, e: E): void }",
    "type F = (\n  a: A,\n  b: B,\n  c: C,\n  d: D,\n  e: E,\n) => void;",
  ])
    expect([text, longLists(text).length]).toEqual([text, 1]);
});

test("four parameters and calls with more arguments are permitted", () => {
  for (const text of [
    "function f(a: Map<string, number>, b: [A, B, C], c: (x: X, y: Y) => Z, d: { e: E; f: F }): void {}",
    "f(1, 2, 3, 4, 5, 6);",
    "const x = y ? f(1, 2, 3, 4, 5) : { z: 1 };",
    "// (a: A, b: B, c: C, d: D, e: E) => void",
    "const f = ({ a, b, c, d, e }: Options): void => {};",
  ])
    expect([text, longLists(text)]).toEqual([text, []]);
});
