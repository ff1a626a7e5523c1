/**
 * Full-text indexes (FTS5, FTS4) with external content: each node keeps its own, filled from the content when the file
 * is built and kept by the application's triggers afterwards.
 */
import type { SchemaObject } from "../sqlite/schema.ts";
import { parseIndex } from "../sqlite/ddl-text/index-text.ts";

export interface SearchIndex {
  readonly name: string;
  /** The table or view with the content; "": the index holds its content itself, or none. */
  readonly content: string;
}

/** Null: another kind of object. */
export function searchIndexOf(object: SchemaObject): SearchIndex | null {
  const module = /^\s*CREATE\s+VIRTUAL\s+TABLE\b[\s\S]*?\bUSING\s+["'`[]?(fts[45])\b/i.exec(object.sql);
  if (object.kind !== "table" || module === null) return null;
  const bracket = object.sql.indexOf("(", module.index + module[0].length);
  const terms = bracket === -1 ? [] : parseIndex(object.sql.slice(bracket)).terms;
  const options = terms.flatMap((term) => {
    const option = /^content\s*=\s*([\s\S]*)$/i.exec(term);
    return option === null ? [] : [unquote(option[1]!.trim())];
  });
  return { name: object.name, content: options.at(-1) ?? "" };
}

function unquote(text: string): string {
  const quote = text[0] ?? "";
  if (quote === "[") return text.slice(1, -1);
  if (!['"', "'", "`"].includes(quote)) return text;
  return text.slice(1, -1).replaceAll(quote + quote, quote);
}
