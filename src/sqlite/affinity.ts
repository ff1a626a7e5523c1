/** A column's affinity from its declared type: https://www.sqlite.org/datatype3.html §3.1. */
import { foldName } from "../base/names.ts";

export type Affinity = "INTEGER" | "TEXT" | "BLOB" | "REAL" | "NUMERIC";

export function affinityOf(declaredType: string): Affinity {
  const type = foldName(declaredType);
  if (type.includes("int")) return "INTEGER";
  if (type.includes("char") || type.includes("clob") || type.includes("text")) return "TEXT";
  if (type === "" || type.includes("blob")) return "BLOB";
  if (type.includes("real") || type.includes("floa") || type.includes("doub")) return "REAL";
  return "NUMERIC";
}
