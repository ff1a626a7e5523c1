/** Builds the binary if it is not there, and runs its demo's tour on the Chinook database. */
import { existsSync } from "node:fs";
import { join } from "node:path";

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
