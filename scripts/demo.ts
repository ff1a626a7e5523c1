/**
 * Runs the demo of the binary on the Chinook database, and builds the binary first if it is missing. Options go to
 * `marmot demo`; without any it is `marmot demo --once`.
 *
 *   bun scripts/demo.ts [options of marmot demo]
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { printUsage } from "./lib/usage.ts";

if (process.argv[2] === "--help") {
  printUsage(import.meta.path);
  process.exit(0);
}

const ROOT = join(import.meta.dir, "..");
const binary = join(ROOT, process.platform === "win32" ? "dist/marmot.exe" : "dist/marmot");
if (!existsSync(binary)) {
  const built = Bun.spawnSync([process.execPath, join(ROOT, "scripts/build.ts")], {
    cwd: ROOT,
    stdout: "inherit",
    stderr: "inherit",
  });
  if (built.exitCode !== 0) process.exit(built.exitCode);
}
const demo = Bun.spawnSync(
  [binary, "demo", ...(process.argv.length > 2 ? process.argv.slice(2) : ["--once"])],
  {
    stdout: "inherit",
    stderr: "inherit",
    stdin: "inherit",
  },
);
process.exit(demo.exitCode);
