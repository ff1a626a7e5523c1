/** A file that is changed from outside is named or goes on whole, nothing is confirmed falsely, and `repair` works. */
import { expect, test } from "bun:test";
import { changeTheFile, FILE_FAULTS } from "./files.ts";

const FIRST = Number(process.env.MARMOT_SEED ?? 1);
const SEEDS = Number(process.env.MARMOT_SEEDS ?? 36);

test.each(FILE_FAULTS.map((fault, i) => [fault, i] as const))(
  "a file is %s",
  async (_fault, kind) => {
    for (let seed = FIRST; seed < FIRST + SEEDS; seed++) {
      if (seed % FILE_FAULTS.length !== kind) continue;
      const { problems, trace } = await changeTheFile(seed);
      if (problems.length > 0)
        expect([...trace.slice(-40), ...problems, `again: MARMOT_SEED=${seed} MARMOT_SEEDS=1`]).toEqual([]);
    }
  },
  120_000,
);
