/** The list of admitted nodes: its form, its errors, and its changes while a node runs. */
import { afterEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../../src/base/clock.ts";
import { UserError } from "../../../src/base/errors.ts";
import { asPeerId } from "../../../src/base/ids.ts";
import {
  AdmittedPeers,
  parseAdmitted,
  readAdmitted,
} from "../../../src/replication/members/admitted-peers.ts";
import { silentLogger } from "../../silent-logger.ts";

const A = "12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X";
const B = "12D3KooWH3uVF6wv47WnArKHk5p6cvgCJEb74UTmxztmQDc298L3";

const folder = mkdtempSync(join(tmpdir(), "marmot-admit-"));
afterEach(() => rmSync(join(folder, "list"), { force: true }));

const refusal = (text: string): string => {
  try {
    parseAdmitted(text, "list");
  } catch (error) {
    return error instanceof UserError ? `${error.message}; ${error.hint}` : String(error);
  }
  return "";
};

test("a line is a peer id, perhaps with a role and a comment", () => {
  const roles = parseAdmitted(`# nodes\r\n\n${A}\t reader # reports\n  ${B}`, "list");
  expect([...roles]).toEqual([
    [asPeerId(A), "reader"],
    [asPeerId(B), "voter"],
  ]);
  expect(parseAdmitted("", "list").size).toBe(0);
});

test.each([
  ["a role of another name", `${A}\n${B} king`, "line 2"],
  ["a peer id that is none", "node-1 voter", "line 1"],
  ["a peer id that is too long", `${A}x voter`, "line 1"],
  ["more words", `${A} voter reader`, "line 1"],
  ["a peer twice", `${A}\n${A} reader`, "line 2"],
])("%s is refused with its line and a hint", (_name, text, line) => {
  expect(refusal(text)).toContain(line);
  expect(refusal(text)).toMatch(/; .{10}/);
});

test("a file that is missing or too large is refused", () => {
  expect(() => readAdmitted(join(folder, "none"))).toThrow("cannot be read");
  writeFileSync(join(folder, "list"), "#".repeat(70_000));
  expect(() => readAdmitted(join(folder, "list"))).toThrow("larger than");
});

test("a changed file is read again, and a bad one leaves the list in force", () => {
  let now = 0;
  const errors: string[] = [];
  const path = join(folder, "list");
  writeFileSync(path, A);
  const logger = { ...silentLogger, error: (message: string) => errors.push(message) };
  const list = new AdmittedPeers(path, { clock: { ...systemClock, now: () => now }, logger });
  const roles = (): unknown[] => {
    now += 10_000;
    return [list.roleOf(asPeerId(A)), list.roleOf(asPeerId(B))];
  };
  expect(roles()).toEqual(["voter", null]);
  writeFileSync(path, `${A} learner\n${B} reader`);
  expect(roles()).toEqual(["learner", "reader"]);
  writeFileSync(path, "nonsense, and longer than a line should be");
  expect(roles()).toEqual(["learner", "reader"]);
  rmSync(path);
  expect(roles()).toEqual(["learner", "reader"]);
  expect(errors).toHaveLength(2);
  writeFileSync(path, B);
  expect(roles()).toEqual([null, "voter"]);
});
