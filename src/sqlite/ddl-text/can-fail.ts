/**
 * Whether SQLite can fail to evaluate an expression, as `json_extract` does for a text that is no JSON. Known from its text:
 * the functions that it calls and their arguments.
 */
import { skip, splitBracket, trimBlanks } from "./index-text.ts";

/** "never"; "unless": it cannot fail while each of these conditions holds; "unknown": its functions are not known. */
export type Failure =
  | { readonly fails: "never" | "unknown" }
  | { readonly fails: "unless"; readonly conditions: readonly Condition[] };

export interface Condition {
  /** SQL: where it holds, the expression does not fail. */
  readonly safe: string;
  /** SQL: where it holds, the expression may be evaluated without a failure all the same; null: never. */
  readonly maybe: string | null;
}

/** SQLite's own functions that return a value, or NULL, for every argument. */
const SAFE = new Set(
  (
    "abs changes char coalesce concat concat_ws date datetime format glob hex ifnull if iif instr julianday length like likely " +
    "likelihood lower ltrim max min nullif octet_length printf quote replace round rtrim sign soundex strftime substr " +
    "substring time timediff trim typeof unhex unicode unixepoch unlikely upper ceil ceiling floor trunc mod pow power sqrt " +
    "exp ln log log10 log2 json_valid json_quote json_error_position"
  ).split(" "),
);

/** They read JSON: their first argument. */
const READS_JSON = /^jsonb?(?:_extract|_type|_array_length|_pretty)?$/;

/** Words that a bracket may follow, and that are no function. */
const KEYWORDS = new Set(
  "and or not in is between case when then else end as collate cast exists escape like glob isnull notnull null".split(
    " ",
  ),
);

const TEXT = /^'(?:[^']|'')*'$/;
const NAME = /^(?:[\p{L}_][\p{L}\p{N}_$]*|"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\])$/u;

interface Token {
  readonly text: string;
  readonly at: number;
}

function tokensOf(text: string): Token[] {
  const tokens: Token[] = [];
  for (let at = 0; at < text.length;) {
    const rest = text.slice(at);
    const end = skip(text, at);
    const length =
      end > at ? end - at : (/^(?:[\p{L}\p{N}_$]+|->>?|[ \t\n\f\r]+)/u.exec(rest)?.[0].length ?? 1);
    const token = text.slice(at, at + length);
    if (!/^(?:[ \t\n\f\r]|--|\/\*)/.test(token)) tokens.push({ text: token, at });
    at += length;
  }
  return tokens;
}

/** Newer versions of SQLite also read JSON5 and JSONB, of which `json_valid` with one argument knows nothing. */
const validJson = (argument: string): Condition => ({
  safe: `coalesce(json_valid(${argument}), 1)`,
  maybe: `(typeof(${argument}) = 'blob' OR ltrim(${argument}) GLOB '[{[]*')`,
});

/** `expression`: verbatim, of an index or a generated column. */
export function failureOf(expression: string): Failure {
  const tokens = tokensOf(expression);
  const conditions = new Map<string, Condition>();
  const add = (condition: Condition): void => void conditions.set(condition.safe, condition);
  for (const [i, { text }] of tokens.entries()) {
    if (text === "->" || text === "->>") {
      const found = beforeArrow(tokens, i);
      if (found === null || !isPath(tokens[i + 1]?.text)) return { fails: "unknown" };
      if (found !== "") add(validJson(found));
      continue;
    }
    const name = text.toLowerCase();
    if (tokens[i + 1]?.text !== "(" || !NAME.test(text) || KEYWORDS.has(name)) continue;
    const [args] = splitBracket(expression, tokens[i + 1]!.at);
    const [first = "", ...rest] = args.map(trimBlanks);
    if (READS_JSON.test(name)) {
      if (!rest.every((arg) => TEXT.test(arg)) || failureOf(first).fails !== "never")
        return { fails: "unknown" };
      add(validJson(first));
    } else if (!SAFE.has(name)) return { fails: "unknown" };
    else if (name === "abs") add({ safe: `(${first}) IS NOT (-9223372036854775807 - 1)`, maybe: null });
  }
  return conditions.size === 0
    ? { fails: "never" }
    : { fails: "unless", conditions: [...conditions.values()] };
}

const isPath = (text: string | undefined): boolean =>
  text !== undefined && (TEXT.test(text) || /^\d+$/.test(text));

/** The operand of an arrow: a column's name; "": the result of another arrow; null: something else. */
function beforeArrow(tokens: readonly Token[], arrow: number): string | null {
  const before = tokens[arrow - 1]?.text;
  if (before === undefined) return null;
  const earlier = tokens[arrow - 2]?.text;
  if (earlier === "->") return isPath(before) ? "" : null;
  return NAME.test(before) && earlier !== "." ? before : null;
}
