/**
 * The soak test over many seeds: writers on three nodes while nodes are killed. Stops at the first seed with a problem.
 * Without --shards each seed runs with 1 shard and with 16. Needs dist/marmot.
 *
 *   bun scripts/soak.ts [--seeds N] [--from S] [--seconds T] [--shards N]
 */
import { soak } from "../test/cluster/soak.ts";
import { parseScriptArgs } from "./lib/usage.ts";

const { values } = parseScriptArgs(import.meta.path, {
  seeds: { type: "string", default: "10" },
  from: { type: "string", default: "1" },
  seconds: { type: "string", default: "60" },
  shards: { type: "string" },
});
const from = Number(values.from);
for (let seed = from; seed < from + Number(values.seeds); seed++)
  for (const shards of values.shards === undefined ? [1, 16] : [Number(values.shards)]) {
    const { wrong } = await soak({ seed, seconds: Number(values.seconds), shards, say: console.log });
    if (wrong.length === 0) continue;
    console.log(wrong.join("\n"));
    console.log(
      `again: bun scripts/soak.ts --from ${seed} --seeds 1 --seconds ${values.seconds} --shards ${shards}`,
    );
    process.exit(1);
  }
console.log("nothing lost, nothing doubled, all files equal");
