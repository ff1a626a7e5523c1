/** Every script says how it is used, and refuses an option that it does not have. */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { usageOf } from "../../scripts/lib/usage.ts";

const ROOT = join(import.meta.dir, "../..");
const scripts = [...new Bun.Glob("scripts/*.ts").scanSync({ cwd: ROOT })].sort();

function run(script: string, ...args: string[]): { code: number; stdout: string; stderr: string } {
  const { exitCode, stdout, stderr } = Bun.spawnSync([process.execPath, script, ...args], { cwd: ROOT });
  return { code: exitCode, stdout: stdout.toString(), stderr: stderr.toString() };
}

test("the usage of a script is its first comment without marks", () => {
  expect(usageOf("/**\n * Does it:\n *   bun scripts/a.ts\n */\n/** Other. */\n")).toBe(
    "Does it:\n  bun scripts/a.ts",
  );
  expect(usageOf("/** One line. */")).toBe("One line.");
  expect(usageOf("const a = 1;")).toBe("");
});

test.each(scripts)("%s --help prints the comment with the command, and nothing else happens", (script) => {
  const usage = usageOf(readFileSync(join(ROOT, script), "utf8"));
  expect(usage).toContain(`bun ${script}`);
  expect(run(script, "--help")).toEqual({ code: 0, stdout: `${usage}\n`, stderr: "" });
});

test.each(scripts.filter((script) => script !== "scripts/demo.ts"))(
  "%s names an option that it does not have, with a hint",
  (script) => {
    const { code, stderr } = run(script, "--no-such-option");
    expect(code).toBe(2);
    expect(stderr).toContain("--no-such-option");
    expect(stderr).toContain(`hint: bun ${script} --help`);
  },
);

test("scripts/test.ts runs every folder with a test file, and those that start clusters apart", () => {
  const rooms = new Set(
    [...new Bun.Glob("test/*/**/*.test.ts").scanSync({ cwd: ROOT })].map((file) =>
      file.split("/").slice(0, 2).join("/"),
    ),
  );
  const [compute, apart] = run("scripts/test.ts", "--list")
    .stdout.trim()
    .split("\n")
    .map((line) => line.split(" "));
  expect([...compute!, ...apart!].sort()).toEqual([...rooms].sort());
  expect(apart).toEqual(
    expect.arrayContaining(["test/apps", "test/build", "test/cluster", "test/transport"]),
  );
  expect(compute).toEqual(expect.arrayContaining(["test/raft", "test/simulation", "test/scripts"]));
});
