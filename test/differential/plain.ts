/** A case on a plain SQLite file: the answers of all statements, and the contents after each step. */
import type { Database } from "bun:sqlite";
import { rmSync } from "node:fs";
import { quoteIdentifier } from "../../src/sqlite/quote.ts";
import { scratch } from "../simulation/template.ts";
import { refusalOf } from "./verdict.ts";
import { makeFile, PlainApplication } from "./application.ts";
import { type Case, migrates, type Step } from "./case.ts";
import { type Content, contentOf, searchesOf } from "./content.ts";

export interface Expected {
  /** Per step, per statement. */
  readonly answers: readonly (readonly string[])[];
  /** After each step. */
  readonly contents: readonly Content[];
  readonly first: Content;
  readonly searches: ReturnType<typeof searchesOf>;
  readonly integrity: string;
  /** Why `run` would not take what is there at some time; null: it does all the time. */
  readonly refused: string | null;
}

export function expectedOf(it: Case): Expected {
  const folder = scratch("plain");
  const file = `${folder}/plain.db`;
  try {
    makeFile(file, it);
    let refused = refusalOf(file);
    const application = new PlainApplication(file, it);
    try {
      const first = contentOf(application.db);
      const contents: Content[] = [];
      const answers = it.steps.map((step, number) => {
        const answer = application.run(step);
        contents.push(contentOf(application.db));
        if (migrates(step)) refused ??= refusalOf(file);
        // A trigger kept the row: its table would wait until someone gives it a key.
        if (it.steps[number + 1]?.settled !== false) refused ??= nullKeyOf(application.db);
        return answer;
      });
      const searches = searchesOf(application.db, it.words);
      return { answers, contents, first, searches, integrity: application.integrity(), refused };
    } finally {
      application.close();
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** A table with a row that has NULL in its declared key, in a sentence; null: there is none. */
function nullKeyOf(db: Database): string | null {
  const names = db
    .query("SELECT name FROM sqlite_schema WHERE type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL%'")
    .values();
  for (const [name] of names) {
    const table = String(name);
    const key = db.query("SELECT name FROM pragma_table_info(?) WHERE pk > 0").values(table).flat();
    if (key.length === 0) continue;
    const where = key.map((k) => `${quoteIdentifier(String(k))} IS NULL`).join(" OR ");
    if (db.query(`SELECT 1 FROM main.${quoteIdentifier(table)} WHERE ${where} LIMIT 1`).values().length > 0)
      return `${table}: a row has NULL in its key`;
  }
  return null;
}

/** Answers that differ, in words. */
export function wrongAnswers(
  { step, number, node }: { step: Step; number: number; node: number },
  expected: readonly string[],
  found: readonly string[],
): string[] {
  return expected.flatMap((answer, i) =>
    answer === found[i]
      ? []
      : [`step ${number}, ${step.sql[i]!}: plain SQLite says "${answer}", n${node} "${found[i]!}"`],
  );
}
