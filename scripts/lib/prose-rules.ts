/** The rules of the prose check: rates per thousand words, the share of long sentences, words with a plainer one. */
import type { Passage } from "./passages.ts";
import { lineAt } from "./pieces.ts";

export interface Group {
  readonly name: string;
  readonly passages: readonly Passage[];
  /** Only for words: a cell of a table is no sentence. */
  readonly tables?: readonly Passage[];
}

export interface Offence {
  readonly file: string;
  readonly line: number;
  readonly message: string;
}

export interface Rate {
  readonly name: string;
  readonly pattern: RegExp;
  /** Per thousand words. */
  readonly limit: number;
}

export const RATES: readonly Rate[] = [
  {
    name: "'what' in place of a noun",
    pattern:
      /(?:^|[.,;:(]\s*|\b(?:of|and|or|but|for|with|by|from|is|that|keeps|takes|gives|holds|shows|says|does|reads|than|as|to)\s+)what\b/gi,
    limit: 2,
  },
  { name: "nobody and somebody", pattern: /\b(?:no|some)body\b/gi, limit: 0.1 },
  { name: "stands and stood", pattern: /\b(?:stands|stood)\b/gi, limit: 0.2 },
];
/** A group may be too small for a rate to mean something: so many are always permitted. */
const ALWAYS_PERMITTED = 1;

const LONG_WORDS = 25;
/** Of the sentences of a group. */
const LONG_SHARE = 0.1;
const LONG_ALWAYS_PERMITTED = 3;

/** Words that a reader must guess at, with the plain ones. Names in code font and "values" in double quotes are permitted. */
export const PLAIN_WORDS: readonly (readonly [RegExp, string])[] = [
  [/\bcures?\b/gi, "hint"],
  [/\bmend(?:s|ed|ing)?\b/gi, "fix"],
  [/\banew\b/gi, "again"],
  [/\bsee the logs?\b/gi, "the cause and a command that helps"],
  [/\b(?:no|some|every)body\b/gi, "no node, a process, each client"],
  [/\bwho(?:ever|soever)\b/gi, "the noun"],
  [/\bmeanwhile\b/gi, "in the same time, or nothing"],
  [/\bstray(?:s|ed)?\b/gi, "child of a losing row"],
  [/\borphan(?:s|ed)?\b/gi, "dangling reference"],
  [/\bgenesis\b/gi, "cluster bootstrap"],
  [/\badopt(?:s|ed|ing)?\b(?=[^.;]*\b(?:snapshot|replica|file)s?\b)/gi, "install"],
  [/\bfates?\b/gi, "table mapping"],
  [/\b(?:births?|born)\b/gi, "creation position, inserted"],
  [/\bawaited\b/gi, "row to restore"],
  [/\buncompared\b/gi, "unreconciled"],
  [/\bjudg(?:e|es|ed|ing|ement|ment)\b/gi, "decide, check, accept"],
  [/\bshadowed\b/gi, "withheld"],
  [/\blive (?:file|side|database)s?\b/gi, "app database, app-db session"],
  [/\breference images?\b/gi, "before image"],
  [/\b(?:comes?|came|coming) to (?:the same|nothing|be|an end|pass)\b/gi, "the verb"],
  [/\bfor ever\b/gi, "always, without limit"],
  [/\b(?:is|are|was|were|while|stays?) away\b/gi, "stopped, disconnected, dropped"],
];

const wordsIn = (text: string): number => text.split(/\s+/).filter((word) => /\w/.test(word)).length;

const placeOf = ({ file, line, text }: Passage, at: number): { file: string; line: number } => ({
  file,
  line: line + lineAt(text, at) - 1,
});

/** Ends at a full stop, a question or exclamation mark before a space, and where a paragraph or an item of a list ends. */
export function sentencesOf(passage: Passage): { words: number; at: number }[] {
  const found: { words: number; at: number }[] = [];
  const pattern = /(?:(?![.!?][)"'”’]*(?:\s|$)|\n\s*(?:\n|[-*]\s|\d+\.\s))[\s\S])+/g;
  for (const match of passage.text.matchAll(pattern)) {
    const words = wordsIn(match[0]);
    if (words > 0) found.push({ words, at: match.index + (match[0].length - match[0].trimStart().length) });
  }
  return found;
}

function overRate(group: Group, { name, pattern, limit }: Rate): Offence[] {
  const passages = [...group.passages, ...(group.tables ?? [])];
  const words = passages.reduce((sum, { text }) => sum + wordsIn(text), 0);
  const found = passages.flatMap((passage) =>
    [...passage.text.matchAll(pattern)].map((match) =>
      placeOf(passage, match.index + match[0].length - match[0].trimStart().length),
    ),
  );
  const rate = (1000 * found.length) / Math.max(1, words);
  if (found.length <= ALWAYS_PERMITTED || rate <= limit) return [];
  return found.map((place) => ({
    ...place,
    message: `${name}: ${rate.toFixed(2)} per 1,000 words in ${group.name}, at most ${limit}`,
  }));
}

function longSentences({ name, passages }: Group): Offence[] {
  const all = passages.flatMap((passage) => sentencesOf(passage).map((sentence) => ({ passage, sentence })));
  const long = all.filter(({ sentence }) => sentence.words > LONG_WORDS);
  const share = long.length / Math.max(1, all.length);
  if (long.length <= LONG_ALWAYS_PERMITTED || share <= LONG_SHARE) return [];
  const percent = `${Math.round(100 * share)} % of the sentences in ${name}, at most ${100 * LONG_SHARE} %`;
  return long.map(({ passage, sentence }) => ({
    ...placeOf(passage, sentence.at),
    message: `a sentence of ${sentence.words} words: ${percent} may have more than ${LONG_WORDS}`,
  }));
}

const isQuoted = (text: string, { 0: word, index }: RegExpExecArray): boolean =>
  text[index - 1] === '"' && text[index + word.length] === '"';

const wordsToReplace = ({ passages, tables = [] }: Group): Offence[] =>
  [...passages, ...tables].flatMap((passage) =>
    PLAIN_WORDS.flatMap(([pattern, plain]) =>
      [...passage.text.matchAll(pattern)]
        .filter((match) => !isQuoted(passage.text, match))
        .map((match) => ({
          ...placeOf(passage, match.index),
          message: `"${match[0].replace(/\s+/g, " ")}"; plain: ${plain}`,
        })),
    ),
  );

export const offencesIn = (group: Group): Offence[] => [
  ...RATES.flatMap((rate) => overRate(group, rate)),
  ...longSentences(group),
  ...wordsToReplace(group),
];

export interface Measured {
  readonly name: string;
  readonly words: number;
  /** Per thousand words, in the order of `RATES`. */
  readonly rates: readonly number[];
  /** From 0 to 1. */
  readonly longShare: number;
}

export function measure({ name, passages, tables = [] }: Group): Measured {
  const all = [...passages, ...tables];
  const words = all.reduce((sum, { text }) => sum + wordsIn(text), 0);
  const rates = RATES.map(({ pattern }) => {
    const count = all.reduce((sum, { text }) => sum + (text.match(pattern) ?? []).length, 0);
    return (1000 * count) / Math.max(1, words);
  });
  const sentences = passages.flatMap(sentencesOf);
  const long = sentences.filter((sentence) => sentence.words > LONG_WORDS).length;
  return { name, words, rates, longShare: long / Math.max(1, sentences.length) };
}
