/** Makes a failing case small: drops steps, statements, schema objects, columns and settings without which it still fails. */
import type { Draft, Statement } from "./draft.ts";
import { withoutColumn } from "./draft.ts";

export interface Shrunk {
  readonly draft: Draft;
  readonly runs: number;
}

/** `fails`: whether this draft shows it, too. Ends when nothing more can go, or after `limitMs` of real time. */
export async function shrink(
  failing: Draft,
  fails: (draft: Draft) => Promise<boolean>,
  limitMs: number,
): Promise<Shrunk> {
  const end = performance.now() + limitMs;
  let draft = failing;
  let runs = 0;
  const attempt = async (smaller: Draft): Promise<boolean> => {
    if (performance.now() > end) return false;
    runs++;
    if (!(await fails(smaller))) return false;
    draft = smaller;
    return true;
  };
  /** Without pieces of a list: halves first, then ever smaller ones (Zeller 2002). */
  const cut = async <T>(
    list: () => readonly T[],
    without: (kept: readonly T[]) => Draft,
  ): Promise<boolean> => {
    let done = false;
    for (let size = Math.ceil(list().length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2))
      for (let at = list().length - size; at > -size; at -= size) {
        const from = Math.max(0, at);
        const kept = [...list().slice(0, from), ...list().slice(at + size)];
        if (kept.length < list().length && (await attempt(without(kept)))) done = true;
      }
    return done;
  };
  for (let progress = true; progress && performance.now() < end;) {
    progress = await cut(
      () => draft.steps,
      (steps) => ({ ...draft, steps }),
    );
    if (
      await cut(
        () => draft.schema,
        (schema) => ({ ...draft, schema }),
      )
    )
      progress = true;
    for (let i = draft.steps.length - 1; i >= 0; i--) {
      const change = (statements: readonly Statement[]): Draft => ({
        ...draft,
        steps: draft.steps.map((step, n) => (n === i ? { ...step, statements } : step)),
      });
      if (await cut(() => draft.steps[i]!.statements, change)) progress = true;
    }
    for (const part of draft.schema) {
      if (part.kind !== "table") continue;
      for (const { name } of part.columns.toReversed())
        if (await attempt(withoutColumn(draft, part.name, name))) progress = true;
      const constraints = () => {
        const now = draft.schema.find((p) => p.kind === "table" && p.name === part.name);
        return now?.kind === "table" ? now.constraints : [];
      };
      const kept = await cut(constraints, (list) => ({
        ...draft,
        schema: draft.schema.map((p) =>
          p.kind === "table" && p.name === part.name ? { ...p, constraints: list } : p,
        ),
      }));
      if (kept) progress = true;
    }
    for (const simpler of simplerStatements(draft)) if (await attempt(simpler(draft))) progress = true;
  }
  const { settings } = draft;
  await attempt({ ...draft, encoding: "UTF-8" });
  await attempt({ ...draft, settings: { ...draft.settings, shards: 1 } });
  await attempt({ ...draft, settings: { ...draft.settings, transactions: "whole" } });
  await attempt({ ...draft, settings: { ...draft.settings, merge: "row", foreignKeys: "keep" } });
  if (settings.idBlock > 0) await attempt({ ...draft, settings: { ...draft.settings, idBlock: 0 } });
  await attempt({ ...draft, steps: draft.steps.map((s) => ({ ...s, settled: true })) });
  return { draft, runs };
}

/** Inserts of several rows, one row less each. */
function simplerStatements(draft: Draft): ((draft: Draft) => Draft)[] {
  const out: ((draft: Draft) => Draft)[] = [];
  const shorter = (statement: Statement, wanted: Statement, row: number): Statement =>
    statement === wanted && statement.kind === "insert" && statement.rows.length > 1
      ? { ...statement, rows: statement.rows.toSpliced(row, 1) }
      : statement;
  for (const step of draft.steps)
    for (const statement of step.statements)
      if (statement.kind === "insert" && statement.rows.length > 1)
        for (const row of statement.rows.keys())
          out.push((d) => ({
            ...d,
            steps: d.steps.map((s) => ({
              ...s,
              statements: s.statements.map((x) => shorter(x, statement, row)),
            })),
          }));
  return out;
}
