/**
 * All tests: checks, the binary, the rooms side by side, then what starts processes one after the other. With paths as
 * arguments only those. Ends with a line that counts.
 */
import { join } from "node:path";

const ROOT = join(import.meta.dir, "..");
const bun = process.execPath;
const paths = process.argv.slice(2);

/** Tests that start processes or open sockets: they share two cores badly. */
const SERIAL = ["test/transport", "test/build", "test/cluster"];

let passed = 0;
let failed = 0;
let skipped = 0;

async function run(command: readonly string[]): Promise<{ code: number; output: string }> {
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

async function step(name: string, command: readonly string[]): Promise<void> {
  console.log(`\n== ${name}`);
  const { code } = await run(command);
  if (code === 0) passed++;
  else failed++;
}

async function tests(name: string, args: readonly string[]): Promise<void> {
  console.log(`\n== ${name}`);
  const { code, output } = await run([bun, "test", "--timeout", "120000", ...args]);
  const count = (word: string): number =>
    Number(new RegExp(`^\\s*(\\d+) ${word}\\b`, "m").exec(output)?.[1] ?? 0);
  passed += count("pass");
  skipped += count("skip");
  failed += count("fail");
  if (code !== 0 && count("fail") === 0) failed++; // it broke off, or found no test
}

if (paths.length > 0) await tests(paths.join(" "), paths);
else {
  await step("checks", [bun, "scripts/check.ts"]);
  await step("the binary", [bun, "scripts/build.ts"]);
  const rooms = [...new Bun.Glob("test/*/").scanSync({ cwd: ROOT, onlyFiles: false })]
    .map((room) => room.replace(/\/$/, ""))
    .filter(
      (room) =>
        !SERIAL.includes(room) &&
        [...new Bun.Glob("**/*.test.ts").scanSync({ cwd: join(ROOT, room) })].length > 0,
    )
    .sort();
  await tests("rooms", rooms);
  for (const room of SERIAL)
    if ([...new Bun.Glob(`${room}/**/*.test.ts`).scanSync({ cwd: ROOT })].length > 0)
      await tests(room, [room]);
}
console.log(`\n${passed} passed, ${failed} failed, ${skipped} skipped`);
process.exit(failed === 0 ? 0 : 1);
