/** Which terms of messages are believed: those that elections since the last contact can have made. */
import { describe, expect, test } from "bun:test";
import { TermBound } from "../../../src/raft/election/term-bound.ts";

const view = (term: number, ticks: number): Parameters<TermBound["accepts"]>[2] => ({
  ...{ term, ticks, voters: [1, 2, 3], self: 2 },
});

/** A group that has heard from member 1 in term 5 at tick 100. */
function inTouch(): TermBound {
  const bound = new TermBound({ electionTicks: 10 });
  expect(bound.accepts(1, 5, view(5, 100))).toBeTrue();
  return bound;
}

describe("a term", () => {
  test("that the next elections give is believed, one far ahead is not", () => {
    expect(inTouch().accepts(3, 6, view(5, 101))).toBeTrue();
    expect(inTouch().accepts(3, 5 + 100_000, view(5, 101))).toBeFalse();
  });

  test("may be higher the longer the group was not in touch", () => {
    expect(inTouch().accepts(3, 5 + 2500, view(5, 101))).toBeFalse();
    expect(inTouch().accepts(3, 5 + 2500, view(5, 100 + 10 * 600))).toBeTrue();
  });

  test("is not bounded so closely before the first contact, but bounded", () => {
    const bound = new TermBound({ electionTicks: 10 });
    expect(bound.accepts(1, 5 + 2_000_000, view(5, 0))).toBeFalse();
    expect(bound.accepts(1, 5 + 500_000, view(5, 0))).toBeTrue();
  });

  test("of an older message keeps a group not in touch", () => {
    const bound = inTouch();
    expect(bound.accepts(1, 4, view(5, 9000))).toBeTrue();
    expect(bound.accepts(3, 5 + 2500, view(5, 9001))).toBeTrue();
  });
});

describe("a far term", () => {
  test("of as many voters as make a majority is believed: this node may have been suspended", () => {
    const bound = inTouch();
    expect(bound.accepts(3, 90_000, view(5, 101))).toBeFalse();
    expect(bound.accepts(3, 90_001, view(5, 102))).toBeFalse();
    expect(bound.accepts(1, 90_001, view(5, 103))).toBeTrue();
  });

  test("of voters at different times, of learners and of strangers is not", () => {
    const bound = inTouch();
    expect(bound.accepts(3, 90_000, view(5, 101))).toBeFalse();
    expect(bound.accepts(1, 90_000, view(5, 500))).toBeFalse();
    expect(bound.accepts(7, 90_000, view(5, 501))).toBeFalse();
    expect(bound.accepts(9, 90_000, view(5, 502))).toBeFalse();
  });

  test("of the only other voter is believed: no more can be asked", () => {
    const bound = new TermBound({ electionTicks: 10 });
    const two = { term: 5, ticks: 100, voters: [1, 2], self: 2 };
    expect(bound.accepts(1, 5, two)).toBeTrue();
    expect(bound.accepts(1, 90_000, two)).toBeTrue();
  });
});
