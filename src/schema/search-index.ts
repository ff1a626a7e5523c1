/**
 * Virtual tables that each node keeps for itself out of replicated rows: full-text indexes (FTS5, FTS4) and R-trees. They are
 * filled when the file is built, and the application's triggers keep them up to date afterwards.
 */
import { isSameName } from "../base/names.ts";
import type { SchemaObject } from "../sqlite/schema.ts";
import { parseIndex } from "../sqlite/ddl-text/index-text.ts";
import { nameAt } from "../sqlite/ddl-text/table-text.ts";

/** "external": its text is in another table or view. "own": it keeps its text. "contentless": it keeps no text. */
export type IndexKind = "external" | "own" | "contentless" | "r-tree";

export interface DerivedIndex {
  readonly name: string;
  readonly kind: IndexKind;
  /** The table or view with the content; "" unless it is external. */
  readonly content: string;
  /** Names of its indexed columns. */
  readonly columns: readonly string[];
}

/** null: the object is neither a full-text index nor an R-tree. */
export function derivedIndexOf(object: SchemaObject): DerivedIndex | null {
  const module =
    /^\s*CREATE\s+VIRTUAL\s+TABLE\b[\s\S]*?\bUSING\s+["'`[]?(fts[45]|rtree|rtree_i32|geopoly)\b/i.exec(
      object.sql,
    );
  if (object.kind !== "table" || module === null) return null;
  const { name } = object;
  if (!/^fts/i.test(module[1]!)) return { name, kind: "r-tree", content: "", columns: [] };
  const bracket = object.sql.indexOf("(", module.index + module[0].length);
  const terms = bracket === -1 ? [] : parseIndex(object.sql.slice(bracket)).terms;
  const options = terms.flatMap((term) => {
    const option = /^content\s*=\s*([\s\S]*)$/i.exec(term);
    return option === null ? [] : [unquote(option[1]!.trim())];
  });
  const content = options.at(-1);
  const columns = columnsIn(terms);
  if (content === undefined) return { name, kind: "own", content: "", columns };
  return { name, kind: content === "" ? "contentless" : "external", content, columns };
}

function columnsIn(terms: readonly string[]): string[] {
  const left = terms
    .flatMap((term) => /^notindexed\s*=\s*([\s\S]*)$/i.exec(term)?.slice(1) ?? [])
    .map(unquote);
  return terms.flatMap((term) => {
    if (/^\w+\s*=/.test(term) || /\sUNINDEXED\s*$/i.test(term)) return [];
    const { name } = nameAt(term, 0);
    return left.some((l) => isSameName(l, name)) ? [] : [name];
  });
}

function unquote(text: string): string {
  const quote = text[0] ?? "";
  if (quote === "[") return text.slice(1, -1);
  if (!['"', "'", "`"].includes(quote)) return text;
  return text.slice(1, -1).replaceAll(quote + quote, quote);
}
