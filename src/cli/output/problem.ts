/** What is wrong with a call: collected, so that all of it is told at once, each with its cure. */
import { UsageError, UserError } from "../../base/errors.ts";

export interface Problem {
  /** What was expected and what came. */
  readonly message: string;
  readonly cure: string;
}

/** One problem as it is, several as a list; `about` is the verb, for where to read on. */
function tell(problems: readonly Problem[], about: string): readonly [message: string, cure: string] {
  if (problems.length === 1) return [problems[0]!.message, problems[0]!.cure];
  const lines = problems.map((p) => `  ${p.message}\n    cure: ${p.cure}`);
  return [
    `${problems.length} things are wrong\n${lines.join("\n")}`,
    `mend each of them; ${about} --help shows every option`,
  ];
}

/** How the program was called is wrong. */
export const usage = (problems: readonly Problem[], about = "marmot"): UsageError =>
  new UsageError(...tell(problems, about));

/** The call is right, but what it meets is not. */
export const refused = (problems: readonly Problem[], about: string): UserError =>
  new UserError(...tell(problems, about));
