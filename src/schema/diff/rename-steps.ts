/** Renames put into an order in which a name is free before it is taken. */
import { foldName } from "../../base/names.ts";

export interface RenameStep {
  readonly from: string;
  readonly to: string;
}

/** `freeName`: a name that nothing else has; in a circle one of the renamed objects takes it for a while. */
export function renameSteps(renames: readonly RenameStep[], freeName: () => string): RenameStep[] {
  const steps: RenameStep[] = [];
  let waiting = renames.filter(({ from, to }) => from !== to);
  while (waiting.length > 0) {
    const taken = new Set(waiting.map((w) => foldName(w.from)));
    const free = waiting.filter((w) => foldName(w.from) === foldName(w.to) || !taken.has(foldName(w.to)));
    if (free.length === 0) {
      const [first, ...rest] = waiting as [RenameStep, ...RenameStep[]];
      const aside = freeName();
      steps.push({ from: first.from, to: aside });
      waiting = [{ from: aside, to: first.to }, ...rest];
    } else {
      steps.push(...free);
      waiting = waiting.filter((w) => !free.includes(w));
    }
  }
  return steps;
}
