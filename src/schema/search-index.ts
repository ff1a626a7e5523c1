/**
 * Full-text indexes (FTS5, FTS4) with external content. Each node has its own: it is filled from the content when the file is
 * built, and the application's triggers keep it up to date afterwards.
 */
import { foldName, isSameName } from "../base/names.ts";
import type { SchemaObject } from "../sqlite/schema.ts";
import { parseIndex } from "../sqlite/ddl-text/index-text.ts";
import { nameAt } from "../sqlite/ddl-text/table-text.ts";

export interface SearchIndex {
  readonly name: string;
  /** The table or view with the content; "": the index has no external content. */
  readonly content: string;
  /** Names of its indexed columns. */
  readonly columns: readonly string[];
}

/** null: the object is no full-text index. */
export function searchIndexOf(object: SchemaObject): SearchIndex | null {
  const module = /^\s*CREATE\s+VIRTUAL\s+TABLE\b[\s\S]*?\bUSING\s+["'`[]?(fts[45])\b/i.exec(object.sql);
  if (object.kind !== "table" || module === null) return null;
  const bracket = object.sql.indexOf("(", module.index + module[0].length);
  const terms = bracket === -1 ? [] : parseIndex(object.sql.slice(bracket)).terms;
  const options = terms.flatMap((term) => {
    const option = /^content\s*=\s*([\s\S]*)$/i.exec(term);
    return option === null ? [] : [unquote(option[1]!.trim())];
  });
  const left = terms
    .flatMap((term) => /^notindexed\s*=\s*([\s\S]*)$/i.exec(term)?.slice(1) ?? [])
    .map(unquote);
  const columns = terms.flatMap((term) => {
    if (/^\w+\s*=/.test(term) || /\sUNINDEXED\s*$/i.test(term)) return [];
    const { name } = nameAt(term, 0);
    return left.some((l) => isSameName(l, name)) ? [] : [name];
  });
  return { name: object.name, content: options.at(-1) ?? "", columns };
}

function unquote(text: string): string {
  const quote = text[0] ?? "";
  if (quote === "[") return text.slice(1, -1);
  if (!['"', "'", "`"].includes(quote)) return text;
  return text.slice(1, -1).replaceAll(quote + quote, quote);
}

/** Names of the full-text indexes over a table of `written` (names in lower case), or over a view, which may show any of them. */
export function indexesOver(objects: readonly SchemaObject[], written: ReadonlySet<string>): string[] {
  if (written.size === 0) return [];
  const views = new Set(objects.flatMap((o) => (o.kind === "view" ? [foldName(o.name)] : [])));
  return objects.flatMap((object) => {
    const content = foldName(searchIndexOf(object)?.content ?? "");
    return written.has(content) || views.has(content) ? [object.name] : [];
  });
}
