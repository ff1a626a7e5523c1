/** The meeting of the nodes of a new cluster: which one forms it, and when none does. */
import { expect, test } from "bun:test";
import { asPeerId, type PeerId } from "../../src/base/ids.ts";
import { Random } from "../../src/base/random.ts";
import { Meeting, type Step } from "../../src/node/joining/meeting.ts";

interface Guest {
  readonly peer: PeerId;
  readonly meeting: Meeting;
}

const guest = (name: string, data = "none", expect = 3, role: "voter" | "learner" = "voter"): Guest => ({
  peer: asPeerId(name),
  meeting: new Meeting({ peerId: asPeerId(name), name, role, expect }, data),
});

/** Each guest tells each other; `mayHear`: the pairs that are connected. */
function round(
  guests: readonly Guest[],
  now: number,
  mayHear = (_a: Guest, _b: Guest): boolean => true,
): Step[] {
  const steps = guests.map(({ meeting }) => meeting.next(now));
  for (const from of guests)
    for (const to of guests)
      if (from !== to && mayHear(from, to)) to.meeting.heard(from.peer, from.meeting.offer(now), now);
  return steps;
}

/** The steps of the last of some rounds. */
function rounds(guests: readonly Guest[], count = 6): Step[] {
  let steps: Step[] = [];
  for (let i = 0; i < count; i++) steps = round(guests, i * 300);
  return steps;
}

const kinds = (steps: readonly Step[]): string[] => steps.map((step) => step.kind);

test("of three nodes without data the one with the lowest peer id forms the cluster", () => {
  expect(kinds(rounds([guest("b"), guest("a"), guest("c")]))).toEqual(["wait", "form", "wait"]);
});

test("the one with data forms the cluster", () => {
  expect(kinds(rounds([guest("a"), guest("b"), guest("c", "some")]))).toEqual(["wait", "wait", "form"]);
});

test("two nodes with data compare their files; with equal ones the lower peer id forms the cluster", () => {
  const [a, b, c] = [guest("a"), guest("b", "some"), guest("c", "some")];
  expect(kinds(rounds([a, b, c]))).toEqual(["wait", "compare", "compare"]);
  b.meeting.data = c.meeting.data = "17";
  expect(kinds(rounds([a, b, c]))).toEqual(["wait", "form", "wait"]);
});

test("two nodes with different data refuse, and the third waits or refuses, too", () => {
  const steps = rounds([guest("a"), guest("b", "17"), guest("c", "18")]);
  expect(kinds(steps)).toEqual(["refuse", "refuse", "refuse"]);
  expect(JSON.stringify(steps[1])).toContain("the files of b, c hold different data");
});

test("fewer or more nodes than expected, and other expectations, form no cluster and say why", () => {
  const reason = (steps: readonly Step[]): string => JSON.stringify(steps[0]);
  expect(reason(rounds([guest("a"), guest("b")]))).toContain("2 of 3 nodes have met (a, b)");
  expect(reason(rounds([guest("a"), guest("b"), guest("c"), guest("d")]))).toContain("4 nodes have met");
  expect(reason(rounds([guest("a"), guest("b", "none", 5), guest("c")]))).toContain(
    "b has --bootstrap-expect 5, this node 3",
  );
  expect(reason(rounds(["a", "b", "c"].map((n) => guest(n, "none", 3, "learner"))))).toContain("learner");
});

test("a learner without data never forms the cluster", () => {
  expect(kinds(rounds([guest("a", "none", 3, "learner"), guest("b"), guest("c")]))).toEqual([
    "wait",
    "form",
    "wait",
  ]);
});

test("an offer that is not repeated no longer counts", () => {
  const [a, b, c] = [guest("a"), guest("b"), guest("c")];
  round([a, b, c], 0);
  expect(JSON.stringify(a.meeting.next(10_000))).toContain("1 of 3");
});

test("four nodes with connections at random: two of them never form a cluster", () => {
  for (let seed = 1; seed <= 300; seed++) {
    const random = new Random(seed);
    const guests = ["a", "b", "c", "d"].map((name) => guest(name));
    const formed = new Set<Guest>();
    const links = new Set<string>();
    const key = (x: Guest, y: Guest): string => [x.peer, y.peer].sort().join();
    for (let i = 0; i < 40; i++) {
      // Connections are made, and only that: what is lost is promised again.
      const [x, y] = [guests[random.below(4)]!, guests[random.below(4)]!];
      if (random.chance(0.5)) links.add(key(x, y));
      // A node that is connected to a member joins.
      const waiting = guests.filter((g) => ![...formed].some((f) => f === g || links.has(key(f, g))));
      const steps = round(waiting, i * 300, (p, q) => links.has(key(p, q)));
      steps.forEach((step, at) => step.kind === "form" && formed.add(waiting[at]!));
    }
    expect(formed.size).toBeLessThanOrEqual(1);
  }
});
