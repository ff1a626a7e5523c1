/** Cuts a failing plan down to actions without which nothing goes wrong. */
import type { Plan, Planned } from "./plan.ts";
import { type Result, simulate } from "./simulation.ts";

export interface Shrunk {
  readonly result: Result;
  /** Indexes into the original plan's actions. */
  readonly kept: readonly number[];
  readonly runs: number;
}

export const keep = (plan: Plan, kept: readonly number[]): Plan => ({
  ...plan,
  actions: kept.map((i) => plan.actions[i] as Planned),
});

/** Delta debugging (Zeller 2002) until nothing more can go, or `limitMs` of real time are over. */
export async function shrink(failed: Result, limitMs: number): Promise<Shrunk> {
  const { plan } = failed;
  const end = performance.now() + limitMs;
  let kept = plan.actions.map((_, i) => i);
  let result = failed;
  let runs = 0;
  for (let pieces = 2; kept.length > 0 && performance.now() < end;) {
    const size = Math.ceil(kept.length / pieces);
    let cut = false;
    for (let at = 0; at < kept.length && performance.now() < end; at += size) {
      const fewer = [...kept.slice(0, at), ...kept.slice(at + size)];
      const attempt = await simulate(keep(plan, fewer));
      runs++;
      if (attempt.problems.length === 0) continue;
      kept = fewer;
      result = attempt;
      cut = true;
      break;
    }
    if (cut) pieces = Math.max(2, pieces - 1);
    else if (size === 1) break;
    else pieces = Math.min(kept.length, pieces * 2);
  }
  return { result, kept, runs };
}
