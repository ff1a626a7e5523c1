import { expect, test } from "bun:test";
import { logEndHalt, type LogEndFacts } from "../../../src/replication/lives/log-end.ts";

const halt = (facts: Partial<LogEndFacts>) =>
  logEndHalt(
    {
      ...{ log: "log.db", groups: [{ compactedIndex: 5, lastIndex: 20 }] },
      ...{ replica: [18], received: [], reflected: [17] },
      ...facts,
    },
    "a hint",
  );

test("a log that reaches replica and file is complete", () => {
  expect(halt({})).toBeNull();
  expect(halt({ replica: [20], reflected: [20] })).toBeNull();
});

test("a log that ends before the replica lost its end", () => {
  expect(halt({ replica: [21] })?.name).toBe("log-lost");
});

test("a log that ends before the position that the file shows lost its end", () => {
  expect(halt({ reflected: [21] })?.name).toBe("log-lost");
});

test("a received replica may be ahead of the log, which begins there at this start", () => {
  expect(halt({ replica: [30], received: [30], reflected: [30] })).toBeNull();
  expect(halt({ replica: [31], received: [30] })?.name).toBe("log-lost");
});

test("a replica that ends before the log begins is an older copy", () => {
  expect(halt({ replica: [4] })?.name).toBe("went-back");
  expect(halt({ replica: [5] })).toBeNull();
});

test("each shard is compared with its own log", () => {
  const groups = [
    { compactedIndex: 5, lastIndex: 20 },
    { compactedIndex: 1, lastIndex: 3 },
  ];
  expect(halt({ groups, replica: [18, 4], reflected: [17, 3] })?.reason).toContain("shard 1");
});
