/** The CHECK constraints of a CREATE TABLE statement, as `sqlite_schema` keeps it: no pragma returns them. */
import { parseIndex, skip, splitBracket } from "./index-text.ts";

/** The expressions, verbatim, in the order of declaration. */
export function checksOf(createTable: string): string[] {
  return /\bCHECK\b/i.test(createTable) ? parseIndex(createTable).terms.flatMap(checksIn) : [];
}

/** `definition`: a column or a table constraint. */
function checksIn(definition: string): string[] {
  const found: string[] = [];
  let word = "";
  for (let at = 0; at < definition.length;) {
    const end = skip(definition, at);
    if (end > at) {
      // A comment may be between CHECK and its bracket; a quoted name may not.
      if (!/^(?:--|\/\*)/.test(definition.slice(at, at + 2))) word = "";
      at = end;
    } else if (definition[at] === "(") {
      const [, close] = splitBracket(definition, at);
      if (/(?:^|[^\p{L}\p{N}_$])CHECK\s*$/iu.test(word)) found.push(definition.slice(at + 1, close - 1));
      [word, at] = ["", close];
    } else word += definition[at++];
  }
  return found;
}
