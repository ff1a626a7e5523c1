/** Which voter gives its place to which learner. */
import { describe, expect, test } from "bun:test";
import { asPeerId } from "../../src/base/ids.ts";
import { dueVoterChange, type SeenMember } from "../../src/replication/members/silent-voters.ts";

const AFTER_MS = 600_000;
const seen = (
  name: string,
  change: Partial<SeenMember> & { role?: "learner"; reader?: true } = {},
): SeenMember => {
  const { role, reader, ...rest } = change;
  const member = { id: 1, peerId: asPeerId(name), name, ...(role && { role }), ...(reader && { reader }) };
  return { member, isVoter: true, silentMs: 0, behind: 0, mayVote: true, ...rest };
};
const learner = (name: string, change: Parameters<typeof seen>[1] = {}): SeenMember =>
  seen(name, { isVoter: false, ...change });
const shown = (members: readonly SeenMember[], afterMs = AFTER_MS): string => {
  const due = dueVoterChange(members, afterMs);
  if (due === null) return "none";
  return due.kind === "replace" ? `${due.voter.name} by ${due.learner.name}` : `${due.voter.name} gives back`;
};
const [a, b] = [seen("a"), seen("b")];
const dead = seen("dead", { silentMs: AFTER_MS });

describe("a silent voter", () => {
  test("gives its place to a connected learner after the time, and never with 0", () => {
    expect(shown([a, b, dead, learner("x")])).toBe("dead by x");
    expect(shown([a, b, seen("dead", { silentMs: AFTER_MS - 1 }), learner("x")])).toBe("none");
    expect(shown([a, b, dead, learner("x")], 0)).toBe("none");
    expect(shown([a, b, dead])).toBe("none");
  });
  test("does so first if it is silent for longest", () => {
    expect(shown([seen("longer", { silentMs: 2 * AFTER_MS }), a, b, dead, learner("x")])).toBe("longer by x");
  });
  test("keeps its place before a reader, a silent or late learner, and one that may not vote", () => {
    const none = [
      learner("reader", { role: "learner", reader: true }),
      learner("silent", { silentMs: 1 }),
      learner("late", { behind: 2001 }),
      learner("barred", { mayVote: false }),
    ];
    expect(shown([a, b, dead, ...none])).toBe("none");
  });
  test("is replaced by a learner that waits for a vote before one by choice", () => {
    expect(shown([a, b, dead, learner("choice", { role: "learner" }), learner("x", { behind: 50 })])).toBe(
      "dead by x",
    );
    expect(shown([a, b, dead, learner("choice", { role: "learner" })])).toBe("dead by choice");
  });
});

test("a learner by choice gives its vote back when three other voters are there", () => {
  const standIn = seen("choice", { role: "learner" });
  expect(shown([a, b, standIn])).toBe("none");
  expect(shown([a, b, standIn, seen("c")])).toBe("choice gives back");
  expect(shown([a, b, standIn, dead])).toBe("none");
});
