/** Names and values: few, so that they meet, and odd ones among them. */
import type { Random } from "../../src/base/random.ts";
import { quoteText } from "../../src/sqlite/quote.ts";

/** What a column is for, so that most values fit. */
export type Kind = "int" | "text" | "real" | "blob" | "any";

const ODD_NAMES = [
  ...["order", "select", "table", "my table", 'quo"ted', "it's", "ünïcode", "a.b", "[x]", "semi;colon"],
  ...[
    "-- no comment",
    "/* nor */",
    "😀",
    "1st",
    "100%",
    "new",
    "old",
    "excluded",
    "main",
    "`tick`",
    " lead",
    "back\\slash",
  ],
  ...[
    "k1",
    "v",
    "rowid",
    "oid",
    "_rowid_",
    "a,b",
    "(b)",
    "tab\tbed",
    "line\nbreak",
    "ſ",
    "İ",
    "_",
    "%s",
    "?1",
    ":n",
    "@p",
    "$d",
  ],
];
const PLAIN_NAMES = [
  "a",
  "b",
  "c",
  "d",
  "e",
  "f",
  "g",
  "h",
  "n",
  "m",
  "x",
  "y",
  "z",
  "name",
  "title",
  "amount",
  "state",
];

/** Hands out names that differ, also for SQLite, which folds ASCII. */
export class Names {
  readonly #taken = new Set<string>();
  readonly #random: Random;
  readonly #oddity: number;

  constructor(random: Random, oddity: number, taken: readonly string[] = []) {
    this.#random = random;
    this.#oddity = oddity;
    for (const name of taken) this.#taken.add(fold(name));
  }

  next(prefix = ""): string {
    for (let i = 0; ; i++) {
      const random = this.#random;
      const pool = random.chance(this.#oddity) ? ODD_NAMES : PLAIN_NAMES;
      const word = random.pick(pool);
      const name = i > 20 ? `${word}${i}` : prefix === "" ? word : `${prefix}${word}`;
      if (this.#taken.has(fold(name))) continue;
      this.#taken.add(fold(name));
      return name;
    }
  }
}

const fold = (name: string): string => name.replace(/[A-Z]/g, (c) => c.toLowerCase());

export const WORDS = ["a", "A", "a ", "b", "B", "b ", "ab", "c", "ü", "Ü", "zebra", "Zebra crossing", ""];
/** For full-text search. */
export const SEARCHED = ["a", "b", "zebra", "crossing", "ü"];

const EXTREMES: Readonly<Record<Kind, readonly string[]>> = {
  int: ["9223372036854775807", "-9223372036854775808", "-1", "4294967296", "9007199254740993"],
  real: [
    "1.0",
    "-0.0",
    "1e308",
    "9e999",
    "-9e999",
    "5e-324",
    "0.1",
    "-1.5",
    "1e15",
    "9223372036854775807.0",
    "2.0",
  ],
  text: [
    ...[
      "CAST(x'62ff' AS TEXT)",
      "CAST(x'610062' AS TEXT)",
      "'1'",
      "'1.0'",
      "'1e3'",
      "' 1'",
      "'0x10'",
      "'it''s'",
    ],
    ...[
      "'😀'",
      "char(55296)",
      "char(0)",
      "'2026-01-31'",
      "'ａ'",
      "'\ufeffb'",
      "replace(hex(zeroblob(600)), '00', 'xy')",
      `'{"a":1}'`,
      `'{"a":"b","c":[1]}'`,
      `'[1]'`,
    ],
  ],
  blob: ["x''", "x'00'", "x'61'", "x'ff00ff'", "zeroblob(5000)"],
  any: ["1.0", "1", "'1'", "x'31'", "-0.0", "9e999", "'a'", "'A'", "''", "x''"],
};

export interface LiteralOptions {
  /** Chance of NULL. */
  readonly nulls: number;
  /** Chance of an extreme value or, unless it `fits`, of a value of another kind. */
  readonly oddity: number;
  readonly fits?: boolean;
  /** No BLOB. */
  readonly bloblessly?: boolean;
}

/** A literal that fits mostly. */
export function literal(random: Random, kind: Kind, options: LiteralOptions): string {
  const { nulls, oddity, fits, bloblessly } = options;
  if (random.chance(nulls)) return "NULL";
  for (;;) {
    const text = random.chance(oddity) ? extreme(random, kind, fits ?? false) : usual(random, kind);
    if (!bloblessly || !/^(?:x'|zeroblob)/.test(text)) return text;
    if (kind === "blob") return "'z'";
  }
}

const extreme = (random: Random, kind: Kind, fits: boolean): string =>
  random.pick(
    EXTREMES[
      fits || random.chance(0.75) ? kind : random.pick(["int", "text", "real", "blob", "any"] as const)
    ],
  );

function usual(random: Random, kind: Kind): string {
  switch (kind) {
    case "int":
      return String(random.below(6));
    case "real":
      return random.pick(["0.5", "1.5", "2.0", "3.25", "1", "2"]);
    case "text":
      return quoteText(random.pick(WORDS));
    case "blob":
      return random.pick(["x'00'", "x'0001'", "x'6162'", "x'ff'"]);
    default:
      return random.pick(["0", "1", "2", "1.0", "2.5", "'a'", "'b'", "x'61'"]);
  }
}
