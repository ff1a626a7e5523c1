/**
 * Cuts TypeScript into code, comments and literals, for the checks that read text: scripts/prose.ts and the tests of the
 * architecture. It knows no grammar; whether a slash begins a pattern is decided by the token before it.
 */

export interface Piece {
  readonly kind: "code" | "comment" | "string" | "template" | "pattern";
  /** With its delimiters. A template is cut at each `${`; the code in it is a piece of its own. */
  readonly text: string;
  /** Where it begins in the whole text. */
  readonly at: number;
}

const COMMENT = /\/\*[\s\S]*?\*\/|\/\/[^\n]*/y;
const STRING = /"(?:[^"\\\n]|\\[\s\S])*"|'(?:[^'\\\n]|\\[\s\S])*'/y;
/** From a backtick, or from the brace that closes an expression, to the next expression or the end. */
const TEMPLATE = /[`}](?:[^`\\$]|\\[\s\S]|\$(?!\{))*(?:`|\$\{)/y;
const PATTERN = /\/(?:[^/\\\n[]|\\.|\[(?:[^\]\\\n]|\\.)*\])+\/[a-z]*/y;
/** Code up to the next character that may begin something else. */
const PLAIN = /[^"'`/{}]+/y;
/** After these a slash divides; after everything else it begins a pattern. */
const VALUE_END = /(?:[\w$)\]]|\+\+|--)\s*$/;
const KEYWORD_END = /(?:^|[^\w$.])(?:return|typeof|case|in|of|do|else|void|delete|throw|new|await|yield)\s*$/;

function matchAt(pattern: RegExp, text: string, at: number): string | null {
  pattern.lastIndex = at;
  return pattern.exec(text)?.[0] ?? null;
}

export function piecesOf(text: string): Piece[] {
  const pieces: Piece[] = [];
  /** Open braces of code since each `${` that is open. */
  const open: number[] = [];
  let code = 0;
  const add = (kind: Piece["kind"], at: number, found: string): number => {
    if (code < at) pieces.push({ kind: "code", text: text.slice(code, at), at: code });
    pieces.push({ kind, text: found, at });
    code = at + found.length;
    return code;
  };
  const dividesAt = (at: number): boolean => {
    const before = text.slice(Math.max(code, at - 40), at);
    if (before.trim() === "") return pieces.at(-1)?.kind === "string" || pieces.at(-1)?.kind === "template";
    return VALUE_END.test(before) && !KEYWORD_END.test(before);
  };
  for (let at = 0; at < text.length;) {
    const comment = matchAt(COMMENT, text, at);
    const string = comment === null ? matchAt(STRING, text, at) : null;
    const literal = comment ?? string;
    if (literal !== null) {
      at = add(comment === null ? "string" : "comment", at, literal);
      continue;
    }
    const character = text[at]!;
    const template = character === "`" || (character === "}" && open.at(-1) === 0);
    const part = template ? matchAt(TEMPLATE, text, at) : null;
    if (part !== null) {
      if (character === "}") open.pop();
      if (part.endsWith("${")) open.push(0);
      at = add("template", at, part);
      continue;
    }
    const pattern = character === "/" && !dividesAt(at) ? matchAt(PATTERN, text, at) : null;
    if (pattern !== null) {
      at = add("pattern", at, pattern);
      continue;
    }
    if (open.length > 0) open[open.length - 1]! += character === "{" ? 1 : character === "}" ? -1 : 0;
    at += matchAt(PLAIN, text, at)?.length ?? 1;
  }
  if (code < text.length) pieces.push({ kind: "code", text: text.slice(code), at: code });
  return pieces;
}

/** The code alone, every other piece as blanks: positions and lines stay. */
export const codeOf = (text: string): string =>
  piecesOf(text)
    .map((p) => (p.kind === "code" ? p.text : p.text.replace(/[^\n]/g, " ")))
    .join("");

/** From 1. */
export const lineAt = (text: string, at: number): number => text.slice(0, at).split("\n").length;

/** Of `import … from`, `export … from`, `import "…"`, `import("…")`, `import("…").Type`, `require("…")`. */
export function importsOf(text: string): string[] {
  const found: string[] = [];
  let code = "";
  for (const piece of piecesOf(text)) {
    if (piece.kind === "code") code = piece.text;
    else if (piece.kind === "comment") continue;
    else {
      if (/\b(?:from|import|require)\s*\(?\s*$/.test(code)) found.push(piece.text.slice(1, -1));
      code = "";
    }
  }
  return found;
}
