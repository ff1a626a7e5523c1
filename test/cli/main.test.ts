/** The command as a whole: verbs, help, exit codes, and the spelling of maxpert/marmot v0.3. */
import { describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Database } from "bun:sqlite";
import { VERBS } from "../../src/cli/main.ts";
import { help } from "../../src/cli/help.ts";
import { marmot } from "./lab.ts";

const COLUMNS = 80;
const LINES = 24;

function expectFits(text: string): void {
  const lines = text.split("\n");
  expect(lines.length).toBeLessThanOrEqual(LINES);
  for (const line of lines) expect([line, line.length <= COLUMNS]).toEqual([line, true]);
  expect(lines.at(-1)).toStartWith("Example: marmot ");
}

describe("help fits a screen and ends with an example", () => {
  test("marmot help", async () => {
    const { code, out } = await marmot(["help"]);
    expect(code).toBe(0);
    expectFits(out);
    for (const verb of VERBS) expect(out).toContain(`  ${verb.name}`);
  });
  for (const verb of VERBS)
    test(verb.name, async () => {
      const { code, out, err } = await marmot([verb.name, "--help"]);
      expect([code, err]).toEqual([0, ""]);
      expectFits(out);
      expect(out).toBe((await marmot(["help", verb.name])).out);
      for (const option of verb.options) expect(out).toContain(`--${option.name}`);
    });
  test("--help is answered even when another option is wrong", async () => {
    expect((await marmot(["run", "--colour", "-h"])).code).toBe(0);
  });
});

test("the example of each verb is a valid call", async () => {
  for (const verb of VERBS.filter((v) => !["run", "demo"].includes(v.name))) {
    const argv = verb.example.split(" ").slice(1);
    if (verb.name === "key") continue; // it would write the file
    const { code } = await marmot(argv);
    expect([verb.name, code === 2]).toEqual([verb.name, false]);
  }
});

test("an option has the same type in every verb that has it", () => {
  const seen = new Map<string, string>();
  for (const verb of VERBS)
    for (const { name, type } of verb.options) {
      expect([name, seen.get(name) ?? type]).toEqual([name, type]);
      seen.set(name, type);
    }
});

describe("wrong usage is exit code 2", () => {
  for (const [argv, part] of [
    [[], "marmot run --db app.db"],
    [["rum"], "there is no verb rum; did you mean run?"],
    [["frobnicate"], "marmot help lists them"],
    [["help", "rum"], "did you mean run?"],
    [["status"], "--db FILE or --data-dir DIR is needed"],
    [["doctor"], "--db FILE is needed"],
    [["cleanup", "--db"], "--db should be followed by FILE"],
    [["key"], "generate, show, id or rotate, not by nothing"],
    [["key", "steal"], "not by steal"],
    [["key", "id"], "the id of which node?"],
    [["conflicts", "lost", "--db", "a"], "list, show ID, restore ID or dismiss ID, not by lost"],
    [["conflicts", "show", "--db", "a"], "should be followed by an id"],
    [["backup", "--db", "a"], "a file, a folder or s3://"],
    [["restore", "--db", "a"], "restore needs the backup"],
    [["conflicts", "list", "7", "--db", "a"], "not by list 7"],
    [["wait", "--db", "a", "--timeout", "forever"], "a duration"],
    [["run", "--db", "a", "--merge", "cell"], "row, column or TABLE=column"],
    [["run", "--db", "a", "--merge", "row,column"], "two values for all other tables"],
    [["run", "--db", "a", "--id-block", "T=1,t=2"], "two values for the table t"],
    [["run", "--db", "a", "--id-block", "-1"], "a number from 0"],
    [["run", "--db", "a", "--foreign-keys", "cascade"], "keep or resolve"],
  ] as const)
    test(argv.join(" ") || "nothing", async () => {
      const { code, out, err } = await marmot(argv);
      expect([code, out]).toEqual([2, ""]);
      expect(err).toContain(part);
    });
});

test("wrong usage and a missing folder are shown together", async () => {
  const { code, err } = await marmot([
    "run",
    "--db",
    "/nowhere/at/all.db",
    "--shards",
    "0",
    "--admin",
    "off",
  ]);
  expect(code).toBe(2);
  expect(err).toContain("--shards should be");
  expect(err).toContain("/nowhere/at should be a folder");
});

test("one problem reads as a sentence with its hint, several as a list", async () => {
  expect((await marmot(["status"])).err).toBe(
    "marmot: --db FILE or --data-dir DIR is needed: which node?\nhint: for example --db app.db",
  );
  expect((await marmot(["status", "--colour"])).err).toBe(
    [
      "marmot: 2 problems",
      "  there is no option --colour",
      "    hint: leave it out, or correct it",
      "  --db FILE or --data-dir DIR is needed: which node?",
      "    hint: for example --db app.db",
      "hint: fix each of them; marmot status --help shows every option",
    ].join("\n"),
  );
});

test("version: by verb, by flag and as JSON", async () => {
  const { out, code } = await marmot(["version"]);
  expect(code).toBe(0);
  expect(out).toMatch(/^marmot \S+ \(commit \S+\), Bun \d+\.\d+\.\d+, SQLite 3\.\d+\.\d+, libp2p /);
  expect((await marmot(["--version"])).out).toBe(out);
  expect(Object.keys(JSON.parse((await marmot(["version", "--json"])).out) as object)).toEqual([
    "marmot",
    "commit",
    "bun",
    "sqlite",
    "libp2p",
  ]);
});

test("cleanup accepts the spelling of maxpert/marmot v0.3", async () => {
  const folder = mkdtempSync(join(tmpdir(), "marmot-cli-"));
  try {
    const path = join(folder, "a.db");
    const db = new Database(path, { create: true });
    db.exec("CREATE TABLE t(id INTEGER PRIMARY KEY)");
    db.close();
    for (const argv of [
      ["-db-path", path, "-cleanup"],
      [`-db-path=${path}`, "-cleanup"],
      ["-cleanup", "--db-path", path],
      ["cleanup", "--db", path],
    ]) {
      const { code, out } = await marmot(argv);
      expect([code, out]).toEqual([0, `removed 0 triggers and 0 tables of Marmot from ${path}`]);
    }
    expect((await marmot(["-db-path", join(folder, "none.db"), "-cleanup"])).code).toBe(1);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test("the help of each verb has its summary as a line", () => {
  for (const verb of VERBS) expect(help(verb)).toContain(`\n${verb.summary}\n`);
});
