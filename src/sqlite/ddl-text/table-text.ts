/**
 * The parts of a CREATE TABLE statement, verbatim: its columns, its constraints, its options. A tokenizer, not a grammar:
 * what a part means is SQLite's to say.
 */
import { foldName } from "../../base/names.ts";
import { isBlank, skip, splitBracket, trimBlanks } from "./index-text.ts";

export interface ColumnText {
  /** Without quotes. */
  readonly name: string;
  /** The whole definition, name included, as written; blanks and comments around it left out. */
  readonly sql: string;
  /** What follows the name. */
  readonly definition: string;
  /** Computed, stored or not: no statement writes it. */
  readonly generated: boolean;
}

export interface TableText {
  /** `CREATE TABLE name`, before the bracket. */
  readonly head: string;
  readonly columns: readonly ColumnText[];
  /** Table constraints; several stand in one part where no comma parts them. */
  readonly constraints: readonly string[];
  /** After the bracket: WITHOUT ROWID, STRICT. */
  readonly options: string;
}

const CONSTRAINT = /^(?:CONSTRAINT|PRIMARY|UNIQUE|CHECK|FOREIGN)(?![\w$\u0080-\uffff])/i;
const WORD = /[\w$\u0080-\uffff]+/y;

const upper = (word: string): string => word.replace(/[a-z]+/g, (part) => part.toUpperCase());

const isComment = (sql: string, at: number): boolean => sql.startsWith("--", at) || sql.startsWith("/*", at);

/** Where the first thing at or after `at` stands that is no blank and no comment. */
function afterBlanks(sql: string, at: number): number {
  for (;;) {
    while (at < sql.length && isBlank(sql[at]!)) at++;
    if (!isComment(sql, at)) return at;
    at = skip(sql, at);
  }
}

/** Blanks and comments around a part left out. A comment within stays, and ends its line. */
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

/** `"a""b"` ⇒ `a"b`, in each of SQLite's four ways to quote; a bare word is itself. */
export function unquoteName(token: string): string {
  const quote = token[0] ?? "";
  if (quote === "[") return token.slice(1, -1);
  if (quote === '"' || quote === "'" || quote === "`")
    return token.slice(1, -1).replaceAll(quote + quote, quote);
  return token;
}

/** The name at `at`, quoted or not, and where it ends. */
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

/** A statement out of parts. A part that ends with a comment would swallow what follows; `parseTable` leaves none. */
export function tableText({ head, columns, constraints, options }: TableText): string {
  const parts = [...columns.map((c) => c.sql), ...constraints];
  return `${head}(${parts.join(", ")})${options === "" ? "" : ` ${options}`}`;
}

/** Columns that statements write, in the order of declaration. */
export const storedColumns = (sql: string): string[] =>
  parseTable(sql).columns.flatMap((c) => (c.generated ? [] : [c.name]));

/** An `UPDATE OF` list and the table of a trigger; null: it has no list. */
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

/** Everything but blanks and comments; names as `"name` without their quotes, in lower case. */
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

/** Whether two statements differ only in which tables they refer to, as after such a table was renamed. */
export function sameButReferences(a: string, b: string): boolean {
  const plain = (sql: string): string[] => {
    const list = tokens(sql);
    return list.map((token, i) => (list[i - 1] === '"references' ? "" : token));
  };
  const [left, right] = [plain(a), plain(b)];
  return left.length === right.length && left.every((token, i) => token === right[i]);
}

/** Whether two statements differ only in how names are quoted, in case, in blanks and comments. */
export function sameTokens(a: string, b: string): boolean {
  const [left, right] = [tokens(a), tokens(b)];
  return left.length === right.length && left.every((token, i) => token === right[i]);
}
