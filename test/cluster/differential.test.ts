/** Random schemas and statements on three processes, and on one plain file. The simulator runs many more of them. */
import { test } from "bun:test";
import { render } from "../differential/draft.ts";
import { draw, OPTIONS } from "../differential/draw.ts";
import { expectNoProblems, replayCommand } from "../differential/report.ts";
import { runReal } from "../differential/processes.ts";

const FIRST = Number(process.env.MARMOT_SEED ?? 20_000);
const CASES = Number(process.env.MARMOT_CASES ?? 20);

for (let seed = FIRST; seed < FIRST + CASES; seed++)
  test(`case ${seed}: three processes and one plain file have equal contents`, async () => {
    const it = render(draw(seed, OPTIONS));
    const { problems } = await runReal(it);
    expectNoProblems(it, problems, replayCommand(seed, true));
  }, 120_000);
