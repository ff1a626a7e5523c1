/**
 * Triggers and tables that older replicators left in a file: maxpert/marmot 0.3 to 0.8 and HarmonyLite. Their triggers still
 * fire. They are never replicated; `marmot cleanup` removes them.
 */
import type { Query } from "../sqlite/query.ts";
import { readObjects, readTable, type SchemaObject } from "../sqlite/schema.ts";
import { PREFIX } from "./app-db-tables.ts";

export type LeftoverOrigin = "maxpert/marmot" | "HarmonyLite";

export interface Leftover {
  readonly kind: "table" | "trigger";
  readonly name: string;
  readonly of: LeftoverOrigin;
}

const HARMONYLITE = "__harmonylite__";
const GLOBAL_LOG = `${PREFIX}_change_log_global`;
const OLD_TRIGGER = /^__marmot__.*_change_log_on_(?:insert|update|delete)$/i;

/** In the order of creation. Indexes go with their tables. */
export function readLeftovers(query: Query): Leftover[] {
  return readObjects(query).flatMap((object): Leftover[] => {
    const { kind, name } = object;
    if (kind !== "table" && kind !== "trigger") return [];
    const of = originOf(query, object);
    return of === null ? [] : [{ kind, name, of }];
  });
}

function originOf(query: Query, { kind, name }: SchemaObject): LeftoverOrigin | null {
  const folded = name.toLowerCase();
  if (folded.startsWith(HARMONYLITE)) return "HarmonyLite";
  if (!folded.startsWith(PREFIX)) return null;
  const isOld = kind === "trigger" ? OLD_TRIGGER.test(name) : isOldLog(query, name);
  return isOld ? "maxpert/marmot" : null;
}

/** By the columns: Marmot's own change logs have the same names. */
function isOldLog(query: Query, name: string): boolean {
  const columns = readTable(query, name).columns.map((c) => c.name.toLowerCase());
  const wanted =
    name.toLowerCase() === GLOBAL_LOG
      ? ["id", "change_table_id", "table_name"]
      : ["id", "type", "created_at", "state"];
  const others = columns.filter((c) => !wanted.includes(c));
  return wanted.every((c) => columns.includes(c)) && others.every((c) => c.startsWith("val_"));
}
