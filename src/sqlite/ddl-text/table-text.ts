/**
 * The verbatim parts of a CREATE TABLE statement: columns, constraints and options. This is a tokenizer without a grammar: it
 * does not interpret the parts.
 */
import { foldName } from "../../base/names.ts";
import { isBlank, skip, splitBracket, trimBlanks } from "./index-text.ts";

export interface ColumnText {
  /** Without quotes. */
  readonly name: string;
  /** The whole definition as written, with the name, without blanks and comments around it. */
  readonly sql: string;
  /** The rest after the name. */
  readonly definition: string;
  /** Computed, stored or not: no statement writes it. */
  readonly generated: boolean;
}

export interface TableText {
  /** `CREATE TABLE name`, before the bracket. */
  readonly head: string;
  readonly columns: readonly ColumnText[];
  /** Table constraints. Constraints without a comma between them form one part. */
  readonly constraints: readonly string[];
  /** After the bracket: WITHOUT ROWID, STRICT. */
  readonly options: string;
}

const CONSTRAINT = /^(?:CONSTRAINT|PRIMARY|UNIQUE|CHECK|FOREIGN)(?![\w$\u0080-\uffff])/i;
const WORD = /[\w$\u0080-\uffff]+/y;

const upper = (word: string): string => word.replace(/[a-z]+/g, (part) => part.toUpperCase());

const isComment = (sql: string, at: number): boolean => sql.startsWith("--", at) || sql.startsWith("/*", at);

/** The first index at or after `at` that is in no blank and no comment. */
function afterBlanks(sql: string, at: number): number {
  for (;;) {
    while (at < sql.length && isBlank(sql[at]!)) at++;
    if (!isComment(sql, at)) return at;
    at = skip(sql, at);
  }
}

/** Without blanks and comments around a part. A comment inside is kept with the end of its line. */
function trimmed(part: string): string {
  const start = afterBlanks(part, 0);
  let end = start;
  for (let i = start; i < part.length;) {
    const next = Math.max(i + 1, skip(part, i));
    if (!isComment(part, i) && !isBlank(part[i]!)) end = next;
    i = next;
  }
  return part.slice(start, end);
}

/** `"a""b"` ⇒ `a"b`, in each of SQLite's four ways to quote. A bare word is returned as it is. */
function unquoteName(token: string): string {
  const quote = token[0] ?? "";
  if (quote === "[") return token.slice(1, -1);
  if (quote === '"' || quote === "'" || quote === "`")
    return token.slice(1, -1).replaceAll(quote + quote, quote);
  return token;
}

/** The name at `at`, quoted or not, and its end (exclusive). */
export function nameAt(sql: string, at: number): { readonly name: string; readonly end: number } {
  const quoted = skip(sql, at);
  if (quoted > at) return { name: unquoteName(sql.slice(at, quoted)), end: quoted };
  WORD.lastIndex = at;
  const word = WORD.exec(sql);
  const end = word === null ? at : WORD.lastIndex;
  return { name: sql.slice(at, end), end };
}

/** Words outside of quotes, comments and brackets. */
export function* bareWords(sql: string): Generator<{ readonly word: string; readonly at: number }, void> {
  let depth = 0;
  for (let i = 0; i < sql.length;) {
    const end = skip(sql, i);
    if (end > i) {
      i = end;
      continue;
    }
    if (sql[i] === "(") depth++;
    if (sql[i] === ")") depth--;
    WORD.lastIndex = i;
    const word = WORD.exec(sql);
    if (word === null) {
      i++;
      continue;
    }
    if (depth === 0) yield { word: upper(word[0]), at: i };
    i = WORD.lastIndex;
  }
}

function columnText(sql: string): ColumnText {
  const { name, end } = nameAt(sql, 0);
  const definition = trimBlanks(sql.slice(end));
  let generated = false;
  for (const { word } of bareWords(definition)) generated ||= word === "AS";
  return { name, sql, definition, generated };
}

/** `sql`: a CREATE TABLE statement of an ordinary table as `sqlite_schema` keeps it. */
export function parseTable(sql: string): TableText {
  let at = 0;
  while (at < sql.length && sql[at] !== "(") at = Math.max(at + 1, skip(sql, at));
  const [parts, end] = splitBracket(sql, at);
  const columns: ColumnText[] = [];
  const constraints: string[] = [];
  for (const part of parts.map(trimmed)) {
    if (CONSTRAINT.test(part)) constraints.push(part);
    else columns.push(columnText(part));
  }
  return { head: sql.slice(0, at), columns, constraints, options: trimmed(sql.slice(end)) };
}

/** A statement of the parts. No part may end with a comment, which would hide the rest; those of `parseTable` do not. */
export function tableText({ head, columns, constraints, options }: TableText): string {
  const parts = [...columns.map((c) => c.sql), ...constraints];
  return `${head}(${parts.join(", ")})${options === "" ? "" : ` ${options}`}`;
}

/** Columns that statements write, in the order of declaration. */
export const storedColumns = (sql: string): string[] =>
  parseTable(sql).columns.flatMap((c) => (c.generated ? [] : [c.name]));

/** The `UPDATE OF` list and the table of a trigger; null: it has no list. */
export function updateOf(sql: string): { readonly columns: string[]; readonly table: string } | null {
  let words: string[] = [];
  const columns: string[] = [];
  for (let i = 0; i < sql.length;) {
    i = afterBlanks(sql, i);
    if (i >= sql.length) return null;
    const { name, end } = nameAt(sql, i);
    const bare = end > i && skip(sql, i) === i;
    const inList = words.at(-1) === "OF";
    if (bare && upper(name) === "ON" && inList) {
      return { columns, table: nameAt(sql, afterBlanks(sql, end)).name };
    }
    if (bare && upper(name) === "BEGIN") return null;
    if (inList && end > i) columns.push(name);
    else if (bare) words = [...words, upper(name)];
    i = Math.max(end, i + 1);
  }
  return null;
}

/** The table of an `AFTER INSERT` trigger, and its text from there on; null: it is another trigger. */
export function afterInsert(sql: string): { readonly table: string; readonly rest: string } | null {
  const words: string[] = [];
  for (let i = afterBlanks(sql, 0); i < sql.length; i = afterBlanks(sql, i)) {
    const { name, end } = nameAt(sql, i);
    const word = end > i && skip(sql, i) === i ? upper(name) : "";
    if (word === "BEGIN") return null;
    if (word === "ON" && words.at(-1) === "INSERT") {
      if (words.at(-2) !== "AFTER") return null;
      const table = nameAt(sql, afterBlanks(sql, end));
      return { table: table.name, rest: sql.slice(table.end) };
    }
    words.push(word);
    i = Math.max(end, i + 1);
  }
  return null;
}

/** All tokens except blanks and comments. A name is `"name` in lower case without its quotes. */
function tokens(sql: string): string[] {
  const list: string[] = [];
  for (let i = afterBlanks(sql, 0); i < sql.length; i = afterBlanks(sql, i)) {
    const { name, end } = nameAt(sql, i);
    if (sql[i] === "'") list.push(sql.slice(i, end));
    else list.push(end > i ? `"${foldName(name)}` : sql[i]!);
    i = Math.max(end, i + 1);
  }
  return list;
}

/** Whether two statements differ only in the names of referenced tables, as after a rename of such a table. */
export function sameButReferences(a: string, b: string): boolean {
  const withoutNames = (list: readonly string[]): string[] =>
    list.map((token, i) => (list[i - 1] === '"references' ? "" : token));
  return isEqual(withoutNames(tokens(a)), withoutNames(tokens(b)));
}

/** Whether two statements differ only in quotes around names, in case, in blanks and in comments. */
export const sameTokens = (a: string, b: string): boolean => isEqual(tokens(a), tokens(b));

const isEqual = (left: readonly string[], right: readonly string[]): boolean =>
  left.length === right.length && left.every((token, i) => token === right[i]);
