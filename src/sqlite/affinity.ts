/** A column's affinity from its declared type: https://www.sqlite.org/datatype3.html §3.1. */
import { foldName } from "../base/names.ts";

export type Affinity = "INTEGER" | "TEXT" | "BLOB" | "REAL" | "NUMERIC";

/** `strict`: the column of a STRICT table, where ANY converts nothing. */
export function affinityOf(declaredType: string, strict = false): Affinity {
  const type = foldName(declaredType);
  if (strict && type === "any") return "BLOB";
  if (type.includes("int")) return "INTEGER";
  if (type.includes("char") || type.includes("clob") || type.includes("text")) return "TEXT";
  if (type === "" || type.includes("blob")) return "BLOB";
  if (type.includes("real") || type.includes("floa") || type.includes("doub")) return "REAL";
  return "NUMERIC";
}

/** The value of an expression as a column of this affinity stores it (§3), as an expression. */
export function storedSql(affinity: Affinity, expression: string): string {
  const value = (sql: string, from: string): string => `(SELECT ${sql} FROM ${from})`;
  const given = `(SELECT ${expression} AS v)`;
  const isNumeral = "typeof(v) = 'text' AND v = CAST(v AS NUMERIC)";
  switch (affinity) {
    case "BLOB":
      return expression;
    case "TEXT":
      return value("CASE WHEN typeof(v) IN ('integer', 'real') THEN CAST(v AS TEXT) ELSE v END", given);
    case "REAL":
      return value(`CASE WHEN typeof(v) = 'integer' OR ${isNumeral} THEN CAST(v AS REAL) ELSE v END`, given);
    default: {
      const number = value(`CASE WHEN ${isNumeral} THEN CAST(v AS NUMERIC) ELSE v END AS v`, given);
      // -9223372036854775808.0 and smaller values stay REAL.
      const isWhole = "typeof(v) = 'real' AND v = CAST(v AS INTEGER) AND v > -9223372036854775808";
      return value(`CASE WHEN ${isWhole} THEN CAST(v AS INTEGER) ELSE v END`, number);
    }
  }
}
