/** The result of a case. */
import { ALL, classify } from "../../src/schema/classify/classify.ts";
import { openDatabase } from "../../src/sqlite/open.ts";
import { queryOf } from "../../src/sqlite/query.ts";

export interface Verdict {
  /** Empty: the nodes did what a plain file does. */
  readonly problems: readonly string[];
  /** Why the file cannot be replicated, where it cannot: nothing was run. */
  readonly refused: string | null;
}

/** Why `run` would not take the file; null: it does. */
export function refusalOf(file: string): string | null {
  const db = openDatabase(file);
  try {
    const refused = classify(queryOf(db), ALL).filter((t) => t.verdict === "refused");
    return refused.length === 0 ? null : refused.map((t) => `${t.name}: ${t.reason}`).join("; ");
  } finally {
    db.close();
  }
}
