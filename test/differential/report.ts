/** The report of a failing case, the same in `bun test` and from scripts/differential.ts: SQL, problems, command. */
import type { Case } from "./case.ts";

const PROBLEMS_SHOWN = 5;

/** The statements of a case, in the order in which the nodes execute them. */
export function statementsOf({ encoding, settings, schema, steps }: Case): string[] {
  return [
    `${encoding} ${JSON.stringify(settings)}`,
    ...schema.map((text) => `  ${text};`),
    ...steps.flatMap(({ node, settled, sql }, i) => [
      `step ${i} on ${node === "all" ? "all nodes" : `n${node}`}${settled ? "" : ", without a wait before it"}`,
      ...sql.map((text) => `  ${text};`),
    ]),
  ];
}

export const problemsOf = (problems: readonly string[]): string[] =>
  problems.slice(0, PROBLEMS_SHOWN).map((problem) => `WRONG ${problem}`);

/** Repeats the case of a seed, with `real` on processes. */
export const replayCommand = (seed: number, real = false): string =>
  `again: bun scripts/differential.ts --from ${seed} --cases 1${real ? " --real" : ""}`;

/** Repeats a case that is kept in a file. */
export const replayFile = (path: string): string => `again: bun scripts/differential.ts --file ${path}`;

/** For tests: throws the report when there is a problem. */
export function expectNoProblems(it: Case, problems: readonly string[], again: string): void {
  if (problems.length === 0) return;
  throw new Error(
    ["the differential test found a problem:", ...statementsOf(it), ...problemsOf(problems), again].join(
      "\n",
    ),
  );
}
