/** The size of folders and files, and names that say which file is meant. */
import { expect, test } from "bun:test";
import { basename, dirname } from "node:path";
import { files, sourceOf } from "./source.ts";

const FILES_OF_A_FOLDER = 14;
const LINES_OF_A_FILE = 400;
/** Base names with the same role in several folders. */
const REPEATED = ["options.ts", "main.ts"];
/** A verb has the name that is typed. */
const VERBS = "cli/verbs";

const counted = (names: readonly string[]): Map<string, number> =>
  names.reduce((counts, name) => counts.set(name, (counts.get(name) ?? 0) + 1), new Map<string, number>());

const crowded = (paths: readonly string[]): string[] =>
  [...counted(paths.map((path) => dirname(path)))]
    .filter(([, count]) => count > FILES_OF_A_FOLDER)
    .map(([folder, count]) => `src/${folder} has ${count} files`);

const linesOf = (text: string): number => text.split("\n").length - (text.endsWith("\n") ? 1 : 0);

const isLong = (text: string): boolean => linesOf(text) > LINES_OF_A_FILE;

function repeated(paths: readonly string[]): string[] {
  const names = paths.filter((path) => dirname(path) !== VERBS).map((path) => basename(path));
  return [...counted(names)].filter(([name, n]) => n > 1 && !REPEATED.includes(name)).map(([name]) => name);
}

test("a folder of src has at most 14 files", () => {
  expect(crowded(files)).toEqual([]);
});

test("a file of src has at most 400 lines", () => {
  const long = files
    .filter((file) => isLong(sourceOf(file)))
    .map((file) => `src/${file}: ${linesOf(sourceOf(file))}`);
  expect(long).toEqual([]);
});

test("a base name occurs once in src, options.ts, main.ts and the verbs excepted", () => {
  expect(repeated(files)).toEqual([]);
});

test("a fifteenth file, a line too many and a repeated name are found", () => {
  const folder = Array.from({ length: 14 }, (_, i) => `room/file-${i}.ts`);
  expect(crowded(folder)).toEqual([]);
  expect(crowded([...folder, "room/one-more.ts"])).toEqual(["src/room has 15 files"]);
  expect(crowded([...folder, "room/part/one-more.ts"])).toEqual([]);
  expect(isLong("\n".repeat(400))).toBe(false);
  expect(isLong("\n".repeat(401))).toBe(true);
  expect(repeated(["a/log.ts", "b/log.ts", "c/log.ts"])).toEqual(["log.ts"]);
  expect(repeated(["a/options.ts", "b/options.ts", "main.ts", "cli/main.ts"])).toEqual([]);
  expect(repeated(["cli/verbs/status.ts", "operations/status.ts"])).toEqual([]);
});
