/** Full-text indexes beside a change of the schema: what wrote their content without triggers they did not hear of. */
import { foldName } from "../../base/names.ts";
import type { SchemaObject } from "../../sqlite/schema.ts";
import { searchIndexOf } from "../search-index.ts";

/** Names of the full-text indexes whose content is one of `written` (names in lower case), or a view, which may show any of them. */
export function indexesOf(objects: readonly SchemaObject[], written: ReadonlySet<string>): string[] {
  if (written.size === 0) return [];
  const views = new Set(objects.flatMap((o) => (o.kind === "view" ? [foldName(o.name)] : [])));
  return objects.flatMap((object) => {
    const content = foldName(searchIndexOf(object)?.content ?? "");
    return written.has(content) || views.has(content) ? [object.name] : [];
  });
}
