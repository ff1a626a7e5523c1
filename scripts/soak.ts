/**
 * The soak of the tests for as long as you like: bun scripts/soak.ts [--seeds N] [--from S] [--seconds T] [--shards N].
 * Stops at the first seed after which something is wrong.
 */
import { parseArgs } from "node:util";
import { soak } from "../test/cluster/soak.ts";

const { values } = parseArgs({
  options: {
    seeds: { type: "string", default: "10" },
    from: { type: "string", default: "1" },
    seconds: { type: "string", default: "60" },
    shards: { type: "string" },
  },
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
