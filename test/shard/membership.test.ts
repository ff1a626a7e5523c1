import { asPeerId } from "../../src/base/ids.ts";
import { describe, expect, test } from "bun:test";
import { EMPTY_BYTES } from "../../src/base/bytes.ts";
import { Random } from "../../src/base/random.ts";
import { changeConfiguration } from "../../src/raft/membership/membership.ts";
import { ConfigChangeType } from "../../src/raft/model/types.ts";
import { nextChange, type NextChange } from "../../src/shard/reconcile.ts";
import type { GroupConfiguration, MemberInfo } from "../../src/shard/seams.ts";
import { preferredLeader } from "../../src/shard/leaders/spread.ts";

const of = (voters: number[], learners: number[] = []): GroupConfiguration => ({
  index: 1,
  configuration: { voters, votersOutgoing: [], learners, learnersNext: [], autoLeave: false },
  members: [...voters, ...learners].map((id) => ({ id, peerId: asPeerId(`p${id}`), name: `n${id}` })),
});

/** Applies a change as Raft would. */
function applied(
  current: GroupConfiguration,
  { steps }: NextChange,
  members: readonly MemberInfo[],
): GroupConfiguration {
  const configuration = changeConfiguration(current.configuration, { steps, context: EMPTY_BYTES }, 99);
  expect(configuration?.votersOutgoing).toEqual([]); // a simple change
  return { ...current, configuration: configuration!, members };
}

function followed(wanted: GroupConfiguration, start: GroupConfiguration): GroupConfiguration {
  let current = start;
  const members = [...wanted.members, ...start.members];
  for (let steps = 0; ; steps++) {
    const change = nextChange(wanted, current, () => true);
    if (change === null) return current;
    for (const { type, member } of change.steps)
      if (type === ConfigChangeType.addVoter) expect(current.configuration.learners).toContain(member);
    current = applied(current, change, members);
    expect(steps).toBeLessThan(30);
  }
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
    expect(followed(wanted, draw()).configuration).toEqual(wanted.configuration);
  }
});

describe("a member that was replaced under a new id", () => {
  /** Member 9 is member 3 again: the same peer with an empty disk. */
  const again = (configuration: GroupConfiguration): GroupConfiguration => ({
    ...configuration,
    members: configuration.members.map((m) => (m.id === 9 ? { ...m, peerId: asPeerId("p3") } : m)),
  });

  test("leaves a group in the change that adds its new id", () => {
    const change = nextChange(again(of([1, 2], [9])), of([1, 2, 3]), () => true);
    expect(change).toEqual({
      steps: [
        { type: ConfigChangeType.removeMember, member: 3 },
        { type: ConfigChangeType.addLearner, member: 9 },
      ],
      member: 9,
    });
  });

  test("leaves a group of which it is the only voter after another voter is there", () => {
    const wanted = again(of([1], [9]));
    const change = nextChange(wanted, of([3], [1]), () => true);
    expect(change?.steps).toEqual([{ type: ConfigChangeType.addLearner, member: 9 }]);
    expect(followed(wanted, of([3], [1])).configuration).toEqual(wanted.configuration);
  });
});

test("a learner becomes a voter only after it has caught up", () => {
  expect(nextChange(of([1, 2]), of([1], [2]), () => false)).toBeNull();
  expect(nextChange(of([1, 2]), of([1], [2]), () => true)).toEqual({
    steps: [{ type: ConfigChangeType.addVoter, member: 2 }],
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
