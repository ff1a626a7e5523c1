/** What the drawing of a case knows of its schema by now. */
import type { Random } from "../../src/base/random.ts";
import { type SchemaPart, sql, type TablePart } from "./draft.ts";
import { drawTable, type Target } from "./draw-table.ts";
import { drawSearch } from "./draw-triggers.ts";
import type { Features } from "./features.ts";
import type { TableInfo, ViewInfo } from "./table.ts";
import type { Names } from "./words.ts";

export interface SchemaObject {
  readonly kind: "index" | "trigger" | "view";
  readonly name: string;
  /** The table that it belongs to. */
  readonly table: string;
  readonly sql: string;
}

export interface DrawnTableInfo extends TableInfo {
  readonly part: TablePart;
}

export interface Schema {
  readonly names: Names;
  /** Statements that make it. */
  readonly parts: SchemaPart[];
  readonly tables: DrawnTableInfo[];
  readonly objects: SchemaObject[];
  readonly views: { readonly view: ViewInfo; readonly table: string }[];
  readonly searches: string[];
  readonly targets: Target[];
}

/** One more table with its indexes; `mayBeSearched`: perhaps with a full-text index. Returns what makes it. */
export function addTable(
  random: Random,
  features: Features,
  schema: Schema,
  mayBeSearched: boolean,
): SchemaPart[] {
  const { names, targets, tables, objects } = schema;
  const { part, info: drawn, indexes, target } = drawTable(random, features, names, targets);
  const info = { ...drawn, ordered: drawn.ordered || features.anyOrder === true };
  const made: SchemaPart[] = [part, ...indexes.map((index) => sql(index.sql))];
  for (const index of indexes) objects.push({ kind: "index", table: info.name, ...index });
  if (target !== null) targets.push(target);
  // Without `recursive_triggers` rows that REPLACE removes would stay in the index.
  const replaces = [...part.columns, ...part.constraints].some((c) => c.text.includes("ON CONFLICT REPLACE"));
  const search =
    mayBeSearched && !replaces && random.chance(features.search) ? drawSearch(random, names, info) : null;
  if (search !== null) {
    made.push(...search.sql.map(sql));
    schema.searches.push(search.name);
  }
  tables.push({ ...info, searched: search !== null, part });
  return made;
}
