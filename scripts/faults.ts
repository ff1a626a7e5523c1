/**
 * The fault runner: a round starts a cluster of the compiled binary, injects the faults that a seed draws, and checks
 * the histories of the applications. Stops at the first round with a problem and prints the command that repeats it.
 *
 *   bun scripts/faults.ts [--seed S] [--seconds T] [--shards N] [--nodes N] [--minutes M]
 *
 * Without --shards it plays one round with 1 shard and one with 16. With --minutes it plays rounds of new seeds until the
 * time is up. Needs dist/marmot.
 */
import { command, round } from "../test/faults/round.ts";
import { parseScriptArgs } from "./lib/usage.ts";

const { values } = parseScriptArgs(import.meta.path, {
  seed: { type: "string" },
  seconds: { type: "string", default: "30" },
  minutes: { type: "string" },
  shards: { type: "string" },
  nodes: { type: "string", default: "3" },
});
// The handlers of "exit" remove mounts and end processes.
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
