/** Cuts a failing plan with a generated schema down further: to the SQL without which it does not go wrong in this way. */
import type { Plan } from "./plan.ts";
import { type Result, simulate } from "./simulation.ts";

/** What a smaller plan must show as well, or it may be another problem: the first words, without names and numbers. */
const kindOf = ({ problems }: Result): string =>
  (problems[0] ?? "").replace(/\S*[\d/"'[\]]\S*/g, "").slice(0, 24);

/** Ends when nothing more can go, or after `limitMs` of real time. */
export async function shrinkStatements(
  failed: Result,
  limitMs: number,
  run: (plan: Plan) => Promise<Result> = simulate,
): Promise<Result> {
  const end = performance.now() + limitMs;
  const kind = kindOf(failed);
  let result = failed;
  let isSmaller = false;
  /** Without pieces of a list: halves first, then ever smaller ones. */
  const cut = async (
    listOf: (plan: Plan) => readonly string[],
    withList: (plan: Plan, list: readonly string[]) => Plan,
  ): Promise<void> => {
    for (let size = listOf(result.plan).length; size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2))
      for (let at = listOf(result.plan).length - size; at > -size; at -= size) {
        if (performance.now() > end) return;
        const list = listOf(result.plan);
        const fewer = [...list.slice(0, Math.max(0, at)), ...list.slice(at + size)];
        if (fewer.length === list.length) continue;
        const attempt = await run(withList(result.plan, fewer));
        if (attempt.problems.length === 0 || kindOf(attempt) !== kind) continue;
        result = attempt;
        isSmaller = true;
      }
  };
  do {
    isSmaller = false;
    await cut(
      ({ generated }) => generated!.schema,
      (plan, schema) => ({ ...plan, generated: { ...plan.generated!, schema } }),
    );
    for (let i = result.plan.actions.length - 1; i >= 0; i--)
      for (const part of ["statements", "settings"] as const)
        await cut(
          (plan) => workOf(plan, i)?.[part] ?? [],
          (plan, list) => withWork(plan, i, { [part]: list }),
        );
  } while (isSmaller && performance.now() < end);
  return result;
}

function workOf({ actions }: Plan, i: number) {
  const { action } = actions[i]!;
  return action.kind === "write" ? action.work : undefined;
}

function withWork(
  plan: Plan,
  i: number,
  part: { statements?: readonly string[]; settings?: readonly string[] },
) {
  const actions = plan.actions.map((planned, n) => {
    const { action } = planned;
    if (n !== i || action.kind !== "write" || action.work === undefined) return planned;
    return { ...planned, action: { ...action, work: { ...action.work, ...part } } };
  });
  return { ...plan, actions };
}
