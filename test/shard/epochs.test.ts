/** Epochs of a cluster that was recovered: which of two nodes belongs to the later one. */
import { describe, expect, test } from "bun:test";
import { asPeerId } from "../../src/base/ids.ts";
import { compareEpochs, type Epoch } from "../../src/shard/epochs.ts";

const epoch = (number: number, id: string, by = "a", starts: readonly number[] = [10]): Epoch => ({
  ...{ number, id, by: asPeerId(by), starts, signature: "" },
});
const byA = ({ by }: Epoch): boolean => by === "a";
const [one, two] = [epoch(1, "one"), epoch(2, "two", "later member")];

describe("one chain of epochs", () => {
  test("the same last epoch is the same", () => {
    expect(compareEpochs([], [], byA)).toBe("same");
    expect(compareEpochs([one], [one], byA)).toBe("same");
    expect(compareEpochs([one, two], [two], byA)).toBe("same");
  });
  test("the node that lacks the last epoch is older", () => {
    expect(compareEpochs([one], [], byA)).toBe("older");
    expect(compareEpochs([one, two], [one], byA)).toBe("older");
    expect(compareEpochs([], [one], byA)).toBe("newer");
    expect(compareEpochs([], [one, two], byA)).toBe("newer"); // the member that began the first one counts
  });
  test("an epoch that no known member began is not believed", () => {
    expect(compareEpochs([], [epoch(1, "x", "stranger")], byA)).toBe("unproven");
    expect(compareEpochs([one], [one, epoch(2, "x", "stranger")], byA)).toBe("unproven");
  });
});

describe("two epochs that do not know of each other", () => {
  const verdicts = (left: Epoch[], right: Epoch[]) => [
    compareEpochs(left, right, () => true),
    compareEpochs(right, left, () => true),
  ];
  test("the higher number wins", () => {
    expect(verdicts([one], [epoch(1, "other"), two])).toEqual(["newer", "older"]);
  });
  test("of one number, the one that kept more entries wins, then the greater id", () => {
    expect(verdicts([one], [epoch(1, "a", "b", [11])])).toEqual(["newer", "older"]);
    expect(verdicts([one], [epoch(1, "two", "b")])).toEqual(["newer", "older"]);
  });
});
