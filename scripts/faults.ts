/**
 * The fault runner: bun scripts/faults.ts [--seed S] [--seconds T] [--shards N] [--nodes N] plays one round (without
 * --shards one with 1 and one with 16); with --minutes M it plays rounds of fresh seeds until the time is up. Stops at
 * the first round after which something is wrong, with the command that repeats it. Needs dist/marmot.
 */
import { parseArgs } from "node:util";
import { command, round } from "../test/faults/round.ts";

const { values } = parseArgs({
  options: {
    seed: { type: "string" },
    seconds: { type: "string", default: "30" },
    minutes: { type: "string" },
    shards: { type: "string" },
    nodes: { type: "string", default: "3" },
  },
});
// Leaving runs what undoes mounts and ends processes.
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => process.exit(1));
const end = performance.now() + Number(values.minutes ?? 0) * 60_000;
let seed = Number(values.seed ?? crypto.getRandomValues(new Uint32Array(1))[0]!);
let rounds = 0;
do {
  for (const shards of values.shards === undefined ? [1, 16] : [Number(values.shards)]) {
    const options = { seed, seconds: Number(values.seconds), shards, nodes: Number(values.nodes) };
    const { wrong } = await round({ ...options, say: console.log });
    rounds++;
    if (wrong.length === 0) continue;
    console.log(wrong.join("\n"));
    console.log(`again: ${command(options)}`);
    process.exit(1);
  }
  seed = (seed + 1) >>> 0;
} while (performance.now() < end);
console.log(`${rounds} rounds: nothing lost, nothing doubled, nothing reordered, all files equal`);
process.exit(0);
