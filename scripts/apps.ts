/**
 * Applications as their projects ship them, on three nodes of the compiled binary: each migrates on one node and writes on
 * all, one node is killed, and files, reports and the application's own check are compared. Packages come from their
 * registries into .tmp/apps; an application that cannot be had is left out by name. Needs dist/marmot.
 *
 *   bun scripts/apps.ts [NAME ...] [--shards 1,16] [--list]
 */
import { GUESTS } from "../test/apps/guests/guests.ts";
import { play } from "../test/apps/guests/story.ts";
import { parseScriptArgs } from "./lib/usage.ts";

const { values, positionals } = parseScriptArgs(import.meta.path, {
  shards: { type: "string", default: "1,16" },
  list: { type: "boolean", default: false },
});
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => process.exit(1));
const unknown = positionals.find((name) => !GUESTS.some((guest) => guest.name === name));
if (unknown !== undefined) {
  console.error(`there is no application ${unknown}`);
  console.error("hint: bun scripts/apps.ts --list");
  process.exit(2);
}
const chosen = GUESTS.filter(({ name }) => positionals.length === 0 || positionals.includes(name));
if (values.list) {
  for (const { name, title } of chosen) console.log(`${name.padEnd(18)}${title}`);
  process.exit(0);
}
const counted = { passed: 0, failed: 0, skipped: 0 };
for (const guest of chosen) {
  const installed = await guest.install();
  if (installed.missing !== null) {
    counted.skipped++;
    console.log(`skipped ${guest.name}: ${installed.missing}`);
    continue;
  }
  for (const shards of values.shards.split(",").map(Number)) {
    const start = performance.now();
    const seconds = (): string => `${((performance.now() - start) / 1000).toFixed(0)} s`;
    const what = `${guest.name}, ${shards} ${shards === 1 ? "shard" : "shards"}`;
    try {
      const kept = await play(guest, installed.folder, shards);
      counted.passed++;
      console.log(`holds ${what}: ${kept} rows of the application, ${seconds()}`);
    } catch (error) {
      counted.failed++;
      console.log(`FAILS ${what}, ${seconds()}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
}
console.log(`${counted.passed} passed, ${counted.failed} failed, ${counted.skipped} skipped`);
process.exit(counted.failed === 0 ? 0 : 1);
