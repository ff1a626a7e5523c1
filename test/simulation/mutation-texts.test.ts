/** The mutations follow the source: scripts/mutations.ts can apply each, without a run of the simulator. */
import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { MUTATIONS as OF_FIDELITY } from "../differential/mutations.ts";
import { type Mutation, MUTATIONS as OF_PROTOCOL } from "./mutations.ts";

const ROOT = join(import.meta.dir, "../..");

/** The reasons for which a mutation cannot be applied, or would change nothing. Its edits are applied one after the other. */
function wrongEdits({ edits, test: own }: Mutation, read: (file: string) => string | null): string[] {
  const texts = new Map<string, string | null>();
  const wrong = edits.flatMap(({ file, find, replace }) => {
    const text = texts.has(file) ? texts.get(file)! : read(`src/${file}`);
    if (text === null) return [`src/${file} does not exist`];
    const count = text.split(find).length - 1;
    texts.set(
      file,
      text.replace(find, () => replace),
    );
    if (count !== 1) return [`src/${file} has the text ${count} times: ${find}`];
    return find === replace ? [`src/${file} is not changed: ${find}`] : [];
  });
  if (own !== undefined && read(own) === null) wrong.push(`${own} does not exist`);
  return wrong;
}

const readFile = (file: string): string | null => {
  const path = join(ROOT, file);
  return existsSync(path) ? readFileSync(path, "utf8") : null;
};

describe.each([
  ["the simulator", OF_PROTOCOL, "docs/simulation.md"],
  ["the differential test", OF_FIDELITY, "docs/differential.md"],
] as const)("mutations of %s", (_name, mutations, document) => {
  test("each has a name of its own", () => {
    expect(new Set(mutations.map(({ name }) => name)).size).toBe(mutations.length);
  });

  test(`the table of ${document} has no other names`, () => {
    const table = /<!-- mutations -->([\s\S]*)<!-- end -->/.exec(readFile(document)!)![1]!;
    const names = [...table.matchAll(/^\| (.*?) \|/gm)].map(([, name]) => name!).slice(2);
    expect(names.length).toBeGreaterThan(10);
    const known = mutations.map(({ name }) => name);
    expect(names.filter((name) => !known.includes(name))).toEqual([]);
  });

  test.each(mutations.map((mutation) => [mutation.name, mutation] as const))(
    "the text of '%s' occurs once in its file",
    (_mutation, mutation) => {
      expect(wrongEdits(mutation, readFile)).toEqual([]);
    },
  );
});

test("a missing file, a missing text, a repeated text and an edit without effect are found", () => {
  const wrong = (file: string, find: string, replace = "", own?: string): string[] =>
    wrongEdits(
      {
        ...{ name: "a", within: 1, edits: [{ file, find, replace }] },
        ...(own === undefined ? {} : { test: own }),
      },
      (path) => (path === "src/a.ts" ? "one two two" : null),
    );
  expect(wrong("a.ts", "one")).toEqual([]);
  expect(wrong("b.ts", "one")).toEqual(["src/b.ts does not exist"]);
  expect(wrong("a.ts", "three")).toEqual(["src/a.ts has the text 0 times: three"]);
  expect(wrong("a.ts", "two")).toEqual(["src/a.ts has the text 2 times: two"]);
  expect(wrong("a.ts", "one", "one")).toEqual(["src/a.ts is not changed: one"]);
  expect(wrong("a.ts", "one", "", "test/b.test.ts")).toEqual(["test/b.test.ts does not exist"]);
});
