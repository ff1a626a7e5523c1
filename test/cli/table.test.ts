/** Plain text tables. */
import { expect, test } from "bun:test";
import { table } from "../../src/cli/output/table.ts";

test("columns are aligned by the width that the terminal shows", () => {
  const rows = [
    ["日本", "1"],
    ["naïve", "2"],
    ["a\u0301", "3"],
  ];
  expect(table(["NAME", "N"], rows).split("\n")).toEqual([
    "NAME   N",
    "日本   1",
    "naïve  2",
    "a\u0301      3",
  ]);
});
