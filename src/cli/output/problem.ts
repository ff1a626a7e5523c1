/** The problems of a call: collected, so that all are shown at once, each with its hint. */
import { UsageError, UserError } from "../../base/errors.ts";

export interface Problem {
  /** The expected and the given value. */
  readonly message: string;
  readonly hint: string;
}

/** One problem as a sentence, several as a list. `about`: the verb whose help is named. */
function tell(problems: readonly Problem[], about: string): readonly [message: string, hint: string] {
  if (problems.length === 1) return [problems[0]!.message, problems[0]!.hint];
  const lines = problems.map((p) => `  ${p.message}\n    hint: ${p.hint}`);
  return [
    `${problems.length} problems\n${lines.join("\n")}`,
    `fix each of them; ${about} --help shows every option`,
  ];
}

/** The call itself is wrong: exit code 2. */
export const usage = (problems: readonly Problem[], about = "marmot"): UsageError =>
  new UsageError(...tell(problems, about));

/** The call is valid, but a file, key or port that it names is not: exit code 1. */
export const refused = (problems: readonly Problem[], about: string): UserError =>
  new UserError(...tell(problems, about));
