/** Types, format and lint: everything that can be said of the code without running it. */
import { join } from "node:path";

const ROOT = join(import.meta.dir, "..");
const bun = process.execPath;

const CHECKS: readonly (readonly [string, readonly string[]])[] = [
  ["types", [bun, "check", "--no-script"]],
  ["format", [bun, "fmt", "--check", "--no-script", "src", "scripts", "test/**/*.ts"]],
  [
    "lint",
    [join(ROOT, "node_modules/.bin/oxlint"), "--type-aware", "--deny-warnings", "src", "scripts", "test"],
  ],
];

let failed = 0;
for (const [name, command] of CHECKS) {
  const done = Bun.spawnSync([...command], { cwd: ROOT, stdout: "pipe", stderr: "pipe" });
  const good = done.exitCode === 0;
  if (!good) failed++;
  console.log(`${good ? "ok    " : "FAILED"} ${name}`);
  if (!good) console.log(`${done.stdout.toString()}${done.stderr.toString()}`);
}
process.exit(failed === 0 ? 0 : 1);
