/** The report of a failing run, the same in `bun test` and from scripts/simulate.ts: events, story, legend, problems, command. */
import type { Plan } from "./plan.ts";
import { type Result, simulate } from "./simulation.ts";

const EVENTS_SHOWN = 40;
const PROBLEMS_SHOWN = 10;

export const LEGEND: readonly string[] = [
  "legend: n0 is node 0; an event begins with its simulated time in milliseconds.",
  "  A row is table/key. A value 1.7.0 is written by node 1 in its transaction 7, as its write 0 (from 0).",
  "  A line with a shard and a log index, 2/31: a row in the total order, with its origin, its value and its base position.",
  "  The events of a plan are explained at `Action` in test/simulation/plan.ts.",
];

/** What scripts/simulate.ts has to be told to draw the plan of this seed again. */
function optionsOf({ keyless, custody, generated, actions }: Plan): string[] {
  const migrates =
    generated === undefined ? actions.some(({ action }) => action.kind === "migrate") : generated.migrations;
  return [
    ...(keyless === true ? ["--keyless"] : []),
    ...(migrates ? ["--schema"] : []),
    ...(custody === true ? ["--custody"] : []),
    ...(generated === undefined ? [] : ["--generated"]),
  ];
}

/** Replays the plan that a seed draws; with `kept` only these of its actions. */
export function replayCommand(drawn: Plan, kept?: readonly number[]): string {
  const only = kept === undefined ? [] : ["--only", kept.join(",") || "none"];
  const options = [...only, "--verbose", ...optionsOf(drawn)].join(" ");
  return `again: bun scripts/simulate.ts --from ${drawn.seed} --seeds 1 ${options}`;
}

/** Replays a plan that is kept in a file. */
export const replayFile = (path: string): string => `again: bun scripts/simulate.ts --file ${path} --verbose`;

/** Without the command. */
export function reportOf({ trace, story, problems }: Result): string[] {
  return [
    ...trace.slice(-EVENTS_SHOWN).map((line) => `  ${line}`),
    ...story,
    ...(problems.length === 0 ? [] : LEGEND),
    ...problems.slice(0, PROBLEMS_SHOWN).map((problem) => `WRONG ${problem}`),
  ];
}

/** For tests: runs a plan, and throws its report when something is wrong. */
export async function expectHolds(plan: Plan, again = replayCommand(plan)): Promise<void> {
  const result = await simulate(plan);
  if (result.problems.length === 0) return;
  throw new Error(["the simulation found a problem:", ...reportOf(result), again].join("\n"));
}
