/**
 * The parts of a CREATE INDEX statement that no pragma returns: the verbatim text of its expressions and of its WHERE. This is a
 * tokenizer without a grammar: it knows quotes, comments and brackets.
 */
import { assert } from "../../base/assert.ts";

export interface IndexText {
  /** Each indexed term as written, with COLLATE but without ASC or DESC. */
  readonly terms: readonly string[];
  readonly where: string | null;
}

/** The end (exclusive) of the quoted token or comment that starts at `at`; `at` itself when none starts there. */
export function skip(sql: string, at: number): number {
  const char = sql[at]!;
  if (char === "'" || char === '"' || char === "`") {
    for (let i = at + 1; i < sql.length; i++)
      if (sql[i] === char) {
        if (sql[i + 1] !== char) return i + 1;
        i++;
      }
    return sql.length;
  }
  if (char === "[") return sql.indexOf("]", at) + 1 || sql.length;
  if (sql.startsWith("--", at)) return sql.indexOf("\n", at) + 1 || sql.length;
  if (sql.startsWith("/*", at)) {
    const end = sql.indexOf("*/", at + 2);
    return end === -1 ? sql.length : end + 2;
  }
  return at;
}

/** Splits the bracket that opens at `open` at its top-level commas; returns the parts and the end (exclusive) of the bracket. */
export function splitBracket(sql: string, open: number): [string[], number] {
  const parts: string[] = [];
  let depth = 0;
  let start = open + 1;
  for (let i = open; i < sql.length;) {
    const end = skip(sql, i);
    if (end > i) {
      i = end;
      continue;
    }
    const char = sql[i]!;
    if (char === "(") depth++;
    if (char === "," && depth === 1) {
      parts.push(sql.slice(start, i));
      start = i + 1;
    }
    if (char === ")" && --depth === 0) {
      parts.push(sql.slice(start, i));
      return [parts, i + 1];
    }
    i++;
  }
  throw new Error("a statement has no closing bracket");
}

/** The characters that separate SQLite's tokens. Other blanks (U+00A0, …) may be part of names. */
export const isBlank = (char: string): boolean => /^[ \t\n\f\r]$/.test(char);

/** Without blanks at both ends. */
export const trimBlanks = (text: string): string => text.replace(/^[ \t\n\f\r]+|[ \t\n\f\r]+$/g, "");

const TRAILER = /[ \t\n\f\r]+(?:ASC|DESC)[ \t\n\f\r]*$/i;

/** `sql`: a CREATE INDEX statement as `sqlite_schema` keeps it. */
export function parseIndex(sql: string): IndexText {
  let at = 0;
  // The first bracket outside of quotes opens the list of terms.
  while (at < sql.length && sql[at] !== "(") at = Math.max(at + 1, skip(sql, at));
  assert(at < sql.length, "a CREATE INDEX has a list of terms");
  const [parts, end] = splitBracket(sql, at);
  const terms = parts.map((part) => trimBlanks(part.replace(TRAILER, "")));
  let rest = end;
  for (;;) {
    while (isBlank(sql[rest] ?? "")) rest++;
    const after = rest < sql.length ? skip(sql, rest) : rest;
    if (after === rest || !/^(?:--|\/\*)/.test(sql.slice(rest, rest + 2))) break;
    rest = after; // a comment
  }
  const where = /^WHERE\b([\s\S]*)$/i.exec(sql.slice(rest));
  return { terms, where: where === null ? null : trimBlanks(where[1]!) };
}

/** The verbatim expression of a generated column, from its definition in CREATE TABLE; null: the column is not generated. */
export function generationOf(definition: string): string | null {
  let word = "";
  for (let at = 0; at < definition.length;) {
    const end = skip(definition, at);
    if (end > at) {
      // A comment may be anywhere; a quoted name ends the word before it.
      if (!/^(?:--|\/\*)/.test(definition.slice(at, at + 2))) word = "";
      at = end;
    } else if (definition[at] === "(") {
      const [, close] = splitBracket(definition, at);
      if (/\bAS\s*$/i.test(word)) return definition.slice(at + 1, close - 1);
      [word, at] = ["", close];
    } else word += definition[at++];
  }
  return null;
}

/** The collation that a column's definition in CREATE TABLE declares; null: none. */
export function collationOf(definition: string): string | null {
  let found: string | null = null;
  let isNext = false;
  for (let at = 0; at < definition.length;) {
    const end = skip(definition, at);
    const char = definition[at]!;
    const word = /^[\p{L}\p{N}_$]+/u.exec(definition.slice(at))?.[0] ?? "";
    const token = word === "" ? definition.slice(at, end) : word;
    if (token !== "" && !/^(?:--|\/\*)/.test(token)) {
      if (isNext) found = /^["'`[]/.test(token) ? token.slice(1, -1) : token;
      isNext = /^COLLATE$/i.test(token);
    }
    at = char === "(" ? splitBracket(definition, at)[1] : Math.max(at + 1, end, at + word.length);
  }
  return found;
}

/** The rest of a CREATE TABLE statement of `sqlite_schema` after the table's name: columns, constraints, options. */
export function afterTableName(sql: string): string {
  const start = /^CREATE\s+TABLE\s+/i.exec(sql);
  assert(start !== null, "a table's statement begins with CREATE TABLE");
  const at = start[0].length;
  const quoted = skip(sql, at);
  return quoted > at ? sql.slice(quoted) : sql.slice(at).replace(/^[^ \t\n\f\r(]+/, "");
}

/** Whether `name` occurs in `text` as a token, quoted or not. True for every column that an expression uses, and perhaps for more. */
export function mentions(text: string, name: string): boolean {
  // A quote is doubled within quotes of its own kind.
  const written = new Set([name, ...['"', "`", "'"].map((quote) => name.replaceAll(quote, quote + quote))]);
  return [...written].some((form) => {
    const plain = form.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
    return new RegExp(`(^|[^\\p{L}\\p{N}_$])${plain}($|[^\\p{L}\\p{N}_$])`, "iu").test(text);
  });
}
