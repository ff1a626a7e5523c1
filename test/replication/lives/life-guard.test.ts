/** Members that left the configuration of group 0 while other groups still have them. */
import { expect, test } from "bun:test";
import { asPeerId } from "../../../src/base/ids.ts";
import { LifeGuard, type LifeGuardComponents } from "../../../src/replication/lives/life-guard.ts";

const SELF = asPeerId("self");
const REMOVED = 5;

/** `voters`: of each group. */
function guard(voters: readonly (readonly number[])[]): LifeGuard {
  const groups = voters.map((ids) => ({
    configuration: {
      index: 20,
      configuration: {
        voters: ids,
        votersOutgoing: [],
        learners: [],
        learnersNext: [],
        autoLeave: false,
      },
      members: ids.map((id) => ({ id, peerId: asPeerId(`peer-${id}`), name: `n${id}` })),
    },
  }));
  const components = { runtime: { groups }, self: SELF, member: 1, nonce: "nonce" };
  return new LifeGuard(components as unknown as LifeGuardComponents);
}

test("a member is removed when group 0 lacks it", () => {
  expect(guard([[1], [1]]).isRemoved({ member: REMOVED })).toBeTrue();
});

test("a member that votes in another group is not removed yet: that group may need its vote", () => {
  expect(guard([[1], [1, REMOVED]]).isRemoved({ member: REMOVED })).toBeFalse();
});

test("a member whose admission this node has not applied is not removed", () => {
  expect(guard([[1], [1]]).isRemoved({ member: 21 })).toBeFalse();
});
