/** Random schemas and statements on three processes, and on one plain file. The simulator runs many more of them. */
import { expect, test } from "bun:test";
import { render } from "../differential/draft.ts";
import { draw, OPTIONS } from "../differential/draw.ts";
import { runReal } from "../differential/processes.ts";

const FIRST = Number(process.env.MARMOT_SEED ?? 20_000);
const CASES = Number(process.env.MARMOT_CASES ?? 20);

for (let seed = FIRST; seed < FIRST + CASES; seed++)
  test(`case ${seed} on processes`, async () => {
    const { problems } = await runReal(render(draw(seed, OPTIONS)));
    expect({ seed, problems: problems.slice(0, 5) }).toEqual({ seed, problems: [] });
  }, 120_000);
