/**
 * All tests: checks, the binary, the rooms on all cores, then what starts processes. With paths as arguments only
 * those, one after the other. Ends with a line that counts; the checks and the build count as one test each.
 */
import { existsSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";

const ROOT = join(import.meta.dir, "..");
const bun = process.execPath;
const paths = process.argv.slice(2).map((path) => path.replace(/\/+$/, ""));

/** Rooms whose tests start processes or open sockets: after the others, since they share cores badly. */
const WITH_PROCESSES = ["test/transport", "test/build", "test/docs", "test/cluster", "test/apps"];
/** Files of theirs at a time: each starts clusters of its own, and half of the time waits for elections and deadlines. */
const AT_A_TIME = 2;
/** Of a single test; those that need more say so themselves. */
const TIMEOUT_MS = 120_000;

const counted = { pass: 0, fail: 0, skip: 0 };

interface Finished {
  readonly code: number;
  readonly output: string;
}

/** Shows the output while it comes, and keeps it. */
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

async function tests(name: string, args: readonly string[]): Promise<void> {
  console.log(`\n== ${name}`);
  const { code, output } = await run([bun, "test", "--timeout", String(TIMEOUT_MS), ...args]);
  // The summary is the last thing it says; a test may print the like before.
  const count = (word: string): number =>
    Number([...output.matchAll(new RegExp(`^\\s*(\\d+) ${word}$`, "gm"))].at(-1)?.[1] ?? 0);
  const failures = count("fail") + count("errors?");
  counted.pass += count("pass");
  counted.skip += count("skip");
  // It may also break off, or find no test.
  counted.fail += failures === 0 && code !== 0 ? 1 : failures;
}

const hasTests = (room: string): boolean =>
  [...new Bun.Glob(`${room}/**/*.test.ts`).scanSync({ cwd: ROOT })].length > 0;

const needsBinary = (path: string): boolean =>
  WITH_PROCESSES.some((room) => path.startsWith(room) || room.startsWith(path));

if (paths.length > 0) {
  // What is tested is what is written now; without a binary its tests have nothing to start.
  if (!paths.some(needsBinary) || (await step("the binary", "scripts/build.ts")))
    await tests(paths.join(" "), paths);
} else {
  await step("checks", "scripts/check.ts");
  await step("the binary", "scripts/build.ts");
  const rooms = [...new Bun.Glob("test/*/").scanSync({ cwd: ROOT, onlyFiles: false })]
    .map((room) => room.replace(/\/$/, ""))
    .filter((room) => !WITH_PROCESSES.includes(room) && hasTests(room))
    .sort();
  await tests("rooms", [`--parallel=${availableParallelism()}`, ...rooms]);
  if (existsSync(join(ROOT, "dist")))
    await tests("what starts processes", [`--parallel=${AT_A_TIME}`, ...WITH_PROCESSES.filter(hasTests)]);
}
const { pass, fail, skip } = counted;
console.log(`\n${pass} passed, ${fail} failed${skip > 0 ? `, ${skip} skipped` : ""}`);
process.exit(fail === 0 ? 0 : 1);
