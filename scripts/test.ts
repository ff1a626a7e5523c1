/**
 * The tests: checks, the binary, the rooms on all cores, then the rooms that start processes or open sockets. A folder of
 * test/ with a test file is a room. Ends with a line of counts; the checks and the build count as one test each.
 *
 *   bun scripts/test.ts                all of them
 *   bun scripts/test.ts PATH ...       only these files or folders, one after the other, without the checks
 *   bun scripts/test.ts --list         the names of the rooms, on the first line those that only compute
 */
import { existsSync, readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { dirname, join, relative } from "node:path";
import { importsOf } from "./lib/pieces.ts";
import { parseScriptArgs } from "./lib/usage.ts";

const ROOT = join(import.meta.dir, "..");
const bun = process.execPath;
const { values, positionals } = parseScriptArgs(import.meta.path, {
  list: { type: "boolean", default: false },
});
const paths = positionals.map((path) => path.replace(/\/+$/, ""));

/** Rooms with processes at a time: each starts clusters, and half of its time it waits for elections and deadlines. */
const AT_A_TIME = 2;
/** Of a single test. A test that needs more has its own limit. */
const TIMEOUT_MS = 120_000;

const counted = { pass: 0, fail: 0, skip: 0 };
/** Lines before a failed test that are printed again at the end, where one looks first. */
const EXCERPT_LINES = 40;
const failed: string[] = [];

interface Finished {
  readonly code: number;
  readonly output: string;
}

/** Forwards the output of a command as it arrives, and returns it. */
async function run(command: readonly string[]): Promise<Finished> {
  const child = Bun.spawn([...command], { cwd: ROOT, stdout: "pipe", stderr: "pipe", stdin: "ignore" });
  let output = "";
  const follow = async (stream: ReadableStream<Uint8Array>): Promise<void> => {
    const decoder = new TextDecoder();
    for await (const chunk of stream) {
      const text = decoder.decode(chunk, { stream: true });
      output += text;
      process.stdout.write(text);
    }
  };
  await Promise.all([follow(child.stdout), follow(child.stderr)]);
  return { code: await child.exited, output };
}

async function step(name: string, script: string): Promise<boolean> {
  console.log(`\n== ${name}`);
  const { code } = await run([bun, script]);
  counted[code === 0 ? "pass" : "fail"]++;
  return code === 0;
}

/** The output of each failed test: the lines since the result before it. */
function failuresIn(output: string): string[] {
  const found: string[] = [];
  let lines: string[] = [];
  for (const line of output.split("\n")) {
    if (/^\d+ tests? failed:$/.test(line)) break; // bun's own list, without the errors
    lines.push(line);
    if (!/^\((?:pass|fail|skip|todo)\) /.test(line)) continue;
    if (line.startsWith("(fail)")) found.push(lines.slice(-EXCERPT_LINES).join("\n"));
    lines = [];
  }
  return found;
}

async function tests(name: string, args: readonly string[]): Promise<void> {
  console.log(`\n== ${name}`);
  const { code, output } = await run([bun, "test", "--timeout", String(TIMEOUT_MS), ...args]);
  // The summary is the last output; a test may print similar lines before.
  const count = (word: string): number =>
    Number([...output.matchAll(new RegExp(`^\\s*(\\d+) ${word}$`, "gm"))].at(-1)?.[1] ?? 0);
  const failures = count("fail") + count("errors?");
  counted.pass += count("pass");
  counted.skip += count("skip");
  failed.push(...failuresIn(output));
  // The run may also end early, or find no test.
  counted.fail += failures === 0 && code !== 0 ? 1 : failures;
}

/** A file with the compiled binary, or one of the network, runs apart from the rooms that compute. */
const USES_BINARY = /["'`/]dist\/?["'`/, ]+marmot|dist\/marmot/;
const USES_SOCKETS = /src\/transport\//;

const textOf = new Map<string, string>();
function read(file: string): string {
  let text = textOf.get(file);
  if (text === undefined) textOf.set(file, (text = readFileSync(join(ROOT, file), "utf8")));
  return text;
}

/** Whether the file, or one of test/ that it imports, contains the pattern. */
function reaches(file: string, pattern: RegExp, visited = new Set<string>()): boolean {
  if (visited.has(file)) return false;
  visited.add(file);
  const text = read(file);
  if (pattern.test(text)) return true;
  return importsOf(text)
    .filter((target) => target.startsWith(".") && target.endsWith(".ts"))
    .map((target) => relative(ROOT, join(ROOT, dirname(file), target)))
    .some((target) => target.startsWith("test/") && reaches(target, pattern, visited));
}

const testsOf = (path: string): string[] =>
  path.endsWith(".ts") ? [path] : [...new Bun.Glob(`${path}/**/*.test.ts`).scanSync({ cwd: ROOT })];
const needsBinary = (path: string): boolean => testsOf(path).some((file) => reaches(file, USES_BINARY));
const opensSockets = (room: string): boolean => testsOf(room).some((file) => USES_SOCKETS.test(read(file)));

function roomsOf(): { compute: string[]; apart: string[] } {
  const rooms = [...new Bun.Glob("test/*/").scanSync({ cwd: ROOT, onlyFiles: false })]
    .map((room) => room.replace(/\/$/, ""))
    .filter((room) => testsOf(room).length > 0)
    .sort();
  const apart = rooms.filter((room) => needsBinary(room) || opensSockets(room));
  return { compute: rooms.filter((room) => !apart.includes(room)), apart };
}

if (values.list) {
  const { compute, apart } = roomsOf();
  console.log(`${compute.join(" ")}\n${apart.join(" ")}`);
  process.exit(0);
}
if (paths.length > 0) {
  // The binary must be of the present source.
  if (!paths.some(needsBinary) || (await step("the binary", "scripts/build.ts")))
    await tests(paths.join(" "), paths);
} else {
  await step("checks", "scripts/check.ts");
  await step("the binary", "scripts/build.ts");
  const { compute, apart } = roomsOf();
  await tests("rooms that compute", [`--parallel=${availableParallelism()}`, ...compute]);
  if (existsSync(join(ROOT, "dist")))
    await tests("rooms that start processes or open sockets", [`--parallel=${AT_A_TIME}`, ...apart]);
}
const { pass, fail, skip } = counted;
for (const failure of failed) console.log(`\n== failed\n${failure.trim()}`);
console.log(`\n${pass} passed, ${fail} failed${skip > 0 ? `, ${skip} skipped` : ""}`);
process.exit(fail === 0 ? 0 : 1);
