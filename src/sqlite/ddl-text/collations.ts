/** Collations that a text of a schema names. */
import { skip } from "./index-text.ts";

export const BUILT_IN_COLLATIONS: ReadonlySet<string> = new Set(["BINARY", "NOCASE", "RTRIM"]);

export interface NamedCollation {
  /** Unquoted. */
  readonly name: string;
  /** Where the name begins and ends in the text, with its quotes. */
  readonly start: number;
  readonly end: number;
}

/** Each name behind the word COLLATE, in the order of the text. */
export function collationsIn(text: string): NamedCollation[] {
  const found: NamedCollation[] = [];
  let isNext = false;
  for (let at = 0; at < text.length;) {
    const end = skip(text, at);
    const isComment = /^(?:--|\/\*)/.test(text.slice(at, at + 2));
    const word = end > at ? "" : (/^[\p{L}\p{N}_$]+/u.exec(text.slice(at))?.[0] ?? "");
    const next = Math.max(at + 1, end, at + word.length);
    if (isNext && !isComment && (end > at || word !== "")) {
      const token = text.slice(at, next);
      found.push({ name: end > at ? token.slice(1, -1) : token, start: at, end: next });
    }
    if (!isComment && (end > at || word !== "" || !/[ \t\n\f\r]/.test(text[at]!)))
      isNext = /^COLLATE$/i.test(word);
    at = next;
  }
  return found;
}

export const namesOtherCollation = (text: string): boolean =>
  collationsIn(text).some(({ name }) => !BUILT_IN_COLLATIONS.has(name.toUpperCase()));
