/** A member with changed code costs the others nothing: they go on, equal, in about the same terms. */
import { expect, test } from "bun:test";
import { HOSTILE_ROLES, sufferAMember } from "./hostile.ts";

const FIRST = Number(process.env.MARMOT_SEED ?? 1);
const SEEDS = Number(process.env.MARMOT_SEEDS ?? 8);

test.each(HOSTILE_ROLES.map((role, i) => [role, i] as const))(
  "a hostile %s is borne",
  async (_role, kind) => {
    for (let seed = FIRST; seed < FIRST + SEEDS; seed++) {
      if (seed % HOSTILE_ROLES.length !== kind) continue;
      const { problems, trace } = await sufferAMember(seed);
      if (problems.length > 0)
        expect([...trace.slice(-40), ...problems, `again: MARMOT_SEED=${seed} MARMOT_SEEDS=1`]).toEqual([]);
    }
  },
  240_000,
);
