/**
 * The checks that need no run of the code: types, format, lint and prose. Ends with 1 when one of them fails.
 *
 *   bun scripts/check.ts
 */
import { join } from "node:path";
import { parseScriptArgs } from "./lib/usage.ts";

parseScriptArgs(import.meta.path, {});

const ROOT = join(import.meta.dir, "..");
const bun = process.execPath;

const CHECKS: readonly (readonly [string, readonly string[]])[] = [
  ["types", [bun, "check", "--no-script"]],
  ["format", [bun, "fmt", "--check", "--no-script", "src", "scripts", "test/**/*.ts"]],
  [
    "lint",
    [join(ROOT, "node_modules/.bin/oxlint"), "--type-aware", "--deny-warnings", "src", "scripts", "test"],
  ],
  ["prose", [bun, "scripts/prose.ts"]],
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
