/** Takes the prose out of sources and documents: comments, strings that a user reads, paragraphs of Markdown. */
import { lineAt, type Piece, piecesOf } from "./pieces.ts";

export interface Passage {
  readonly file: string;
  /** Of the first line of `text`; a line of `text` is a line of the file. */
  readonly line: number;
  /** Without markup. Code spans are one word each. */
  readonly text: string;
}

/** In place of a code span, a file name or an expression in a template: names may be any words. */
const CODE = "CODE";
const FILE_NAME = /(?:[\w.-]+\/)*[\w.-]+\.(?:ts|md|sql|json|html|py)\b/g;
const withoutSpans = (text: string): string =>
  text
    .replace(/(`+)(?:(?!\1)[\s\S])+\1/g, (span) => CODE + "\n".repeat(span.split("\n").length - 1))
    .replace(FILE_NAME, CODE);

const isLineComment = (piece: Piece): boolean => piece.text.startsWith("//");
/** For a tool, not for a reader. */
const DIRECTIVE = /^\/\/\s*(?:oxlint|@ts)-/;

function textOfComment(comment: string): string {
  const lines = comment.startsWith("//")
    ? comment.split("\n").map((line) => line.replace(/^\s*\/\/\/?\s?/, ""))
    : comment
        .replace(/^\/\*+|\*+\/$/g, "")
        .split("\n")
        .map((line) => line.replace(/^\s*\*\s?/, ""));
  return withoutSpans(lines.join("\n").replace(/-{4,}/g, "\n"));
}

/** Line comments on lines that follow each other are one passage. */
export function commentsOf(file: string, source: string): Passage[] {
  const passages: Passage[] = [];
  let [open, openAt, openEnd] = ["", 0, 0];
  const close = (): void => {
    if (open !== "")
      passages.push({ file, line: lineAt(source, openAt), text: textOfComment(open).trimEnd() });
    open = "";
  };
  for (const piece of piecesOf(source)) {
    if (piece.kind !== "comment" || DIRECTIVE.test(piece.text)) continue;
    const between = source.slice(openEnd, piece.at);
    const follows = open !== "" && isLineComment(piece) && /^[^\S\n]*\n[^\S\n]*$/.test(between);
    if (follows) open += `\n${piece.text}`;
    else {
      close();
      [open, openAt] = [piece.text, piece.at];
    }
    openEnd = piece.at + piece.text.length;
    if (!isLineComment(piece)) close();
  }
  close();
  return passages;
}

const SQL_START =
  /^\s*(?:SELECT|INSERT|UPDATE|DELETE|CREATE|DROP|ALTER|PRAGMA|WITH|BEGIN|VALUES|UNION|WHERE|FROM|AND|OR|ON|SET|WHEN|REPLACE|EXISTS|NOT EXISTS|ORDER BY|CODE\s*\()\b/;
const SQL_WORD = /\b(?:SELECT|INTO|FROM|WHERE|VALUES|UNION|EXISTS|JOIN|ORDER BY|WHEN|BEGIN|CASE|COALESCE)\b/g;
const isSql = (text: string): boolean => SQL_START.test(text) || (text.match(SQL_WORD) ?? []).length > 1;

const PLAIN_WORD = /^[("'“]*[A-Za-z][a-z]*(?:[-’'][a-z]+)*[)"'”]*[.,:;!?]?$/;
/** Fewer words are a name, a key or a label. */
const WORDS_OF_PROSE = 4;
const isProse = (text: string): boolean =>
  !isSql(text) &&
  text.split(/\s+/).filter((word) => word !== CODE && PLAIN_WORD.test(word)).length >= WORDS_OF_PROSE;

/** Of the escapes only a line break matters: it ends a sentence as a full stop does. */
const unescaped = (text: string): string => text.replace(/\\n/g, ". ").replace(/\\(.)/g, "$1");

/** Strings and templates of at least four words that are not SQL. A template is one string, its expressions are names. */
export function stringsOf(file: string, source: string): Passage[] {
  const passages: Passage[] = [];
  const open: { text: string; at: number }[] = [];
  const add = (text: string, at: number): void => {
    const prose = withoutSpans(unescaped(text));
    if (isProse(prose)) passages.push({ file, line: lineAt(source, at), text: prose });
  };
  for (const { kind, text, at } of piecesOf(source)) {
    if (kind === "string") add(text.slice(1, -1), at);
    if (kind !== "template") continue;
    const continues = text.startsWith("}");
    const part = text.slice(1, text.endsWith("${") ? -2 : -1);
    const template = continues ? open.pop()! : { text: "", at };
    const whole = { text: template.text + (continues ? CODE : "") + part, at: template.at };
    if (text.endsWith("${")) open.push(whole);
    else add(whole.text, whole.at);
  }
  return passages;
}

const blank = (text: string): string => text.replace(/[^\n]/g, "");
const isTableRow = (line: string): boolean => /^\s*\|/.test(line);

/** Paragraphs, list items and headings of a Markdown text; without code fences and comments, tables apart. */
export function paragraphsOf(file: string, markdown: string): { prose: Passage[]; tables: Passage[] } {
  const text = withoutSpans(
    markdown
      .replace(/^([ \t]*)(`{3,}|~{3,})[\s\S]*?^\1\2[ \t]*$/gm, blank)
      .replace(/<!--[\s\S]*?-->/g, blank)
      .replace(/\]\([^)\n]*\)/g, "]"),
  );
  const found: { prose: Passage[]; tables: Passage[] } = { prose: [], tables: [] };
  let [from, lines]: [number, string[]] = [0, []];
  const close = (): void => {
    if (lines.length > 0) found.prose.push({ file, line: from, text: lines.join("\n") });
    lines = [];
  };
  for (const [i, line] of text.split("\n").entries()) {
    const begins = /^\s*(?:[-*+]|\d+\.|#+)\s/.test(line);
    if (line.trim() === "" || isTableRow(line) || begins) close();
    if (isTableRow(line) && !/^[\s|:-]*$/.test(line)) found.tables.push({ file, line: i + 1, text: line });
    if (line.trim() === "" || isTableRow(line)) continue;
    if (lines.length === 0) from = i + 1;
    lines.push(line.replace(/^\s*(?:[-*+>]|\d+\.|#+)\s+/, ""));
    if (/^\s*#+\s/.test(line)) close();
  }
  close();
  return found;
}
