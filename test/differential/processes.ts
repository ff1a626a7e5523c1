import type { Case } from "./case.ts";
import type { Verdict } from "./verdict.ts";
export function runReal(_it: Case): Promise<Verdict> {
  throw new Error("none");
}
