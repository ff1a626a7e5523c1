import { asPeerId } from "../../src/base/ids.ts";
import { expect, test } from "bun:test";
import { Random } from "../../src/base/random.ts";
import { ConfigChangeType, type Configuration } from "../../src/raft/model/types.ts";
import { nextStep } from "../../src/shard/reconcile.ts";
import type { GroupConfiguration } from "../../src/shard/seams.ts";
import { preferredLeader } from "../../src/shard/spread.ts";

const of = (voters: number[], learners: number[] = []): GroupConfiguration => ({
  index: 1,
  configuration: { voters, votersOutgoing: [], learners, learnersNext: [], autoLeave: false },
  members: [...voters, ...learners].map((id) => ({ id, peerId: asPeerId(`p${id}`), name: `n${id}` })),
});

/** Applies a step as Raft would. */
function applied(
  current: GroupConfiguration,
  step: NonNullable<ReturnType<typeof nextStep>>,
): GroupConfiguration {
  const c: Configuration = current.configuration;
  const without = (list: readonly number[]): number[] => list.filter((id) => id !== step.member);
  const add = (list: readonly number[]): number[] => [...without(list), step.member].sort((a, b) => a - b);
  if (step.type === ConfigChangeType.addVoter) return of(add(c.voters), without(c.learners));
  if (step.type === ConfigChangeType.addLearner) return of(without(c.voters), add(c.learners));
  return of(without(c.voters), without(c.learners));
}

test("a group follows group 0's configuration by simple changes, learners first, until both are equal", () => {
  const random = new Random(2);
  for (let round = 0; round < 200; round++) {
    const draw = (): GroupConfiguration => {
      const ids = [1, 4, 9, 12, 15].filter(() => random.chance(0.6));
      const voters = ids.length === 0 ? [1] : ids.filter(() => random.chance(0.6));
      return of(
        voters.length === 0 ? [ids[0] ?? 1] : voters,
        ids.filter((id) => !voters.includes(id) && id !== (voters.length === 0 ? ids[0] : 0)),
      );
    };
    const wanted = draw();
    let current = draw();
    for (let steps = 0; ; steps++) {
      const step = nextStep(wanted, current, () => true);
      if (step === null) break;
      if (step.type === ConfigChangeType.addVoter)
        expect(current.configuration.learners).toContain(step.member);
      current = applied(current, step);
      expect(steps).toBeLessThan(30);
    }
    expect(current.configuration).toEqual(wanted.configuration);
  }
});

test("a learner becomes a voter only after it has caught up", () => {
  expect(nextStep(of([1, 2]), of([1], [2]), () => false)).toBeNull();
  expect(nextStep(of([1, 2]), of([1], [2]), () => true)).toEqual({
    type: ConfigChangeType.addVoter,
    member: 2,
  });
});

test("preferred leaders are spread evenly over the voters", () => {
  const counts = new Map<number, number>();
  for (let shard = 0; shard < 16; shard++) {
    const leader = preferredLeader(shard, [1, 3, 4]);
    counts.set(leader, (counts.get(leader) ?? 0) + 1);
  }
  expect([...counts.values()].sort()).toEqual([5, 5, 6]);
});
