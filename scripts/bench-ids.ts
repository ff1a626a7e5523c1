/**
 * Measures how often ids that SQLite picks collide when three nodes insert at once, with tables as Django and Rails
 * declare them. Needs dist/marmot.
 *
 *   bun scripts/bench-ids.ts [--rates 1,10,100] [--blocks 0,64] [--seconds 10] [--seed 1]
 *
 * --rates: parents per second and node; --blocks: id blocks, 0 is off.
 */
import { Random } from "../src/base/random.ts";
import { writeLikeOrms } from "../test/cluster/ids-load.ts";
import { parseScriptArgs } from "./lib/usage.ts";

const { values } = parseScriptArgs(import.meta.path, {
  rates: { type: "string", default: "1,10,100" },
  blocks: { type: "string", default: "0,64" },
  seconds: { type: "string", default: "10" },
  seed: { type: "string", default: "1" },
});

for (const rate of values.rates.split(",").map(Number))
  for (const block of values.blocks.split(",").map(Number)) {
    // At a slow rate it takes longer until there are enough rows.
    const seconds = Math.max(Number(values.seconds), 60 / rate);
    const result = await writeLikeOrms({
      random: new Random(Number(values.seed)),
      perSecond: rate,
      seconds,
      block,
    });
    const part = (n: number): string => `${((100 * n) / result.inserted).toFixed(2)} %`;
    console.log(
      JSON.stringify({
        parents_per_second_and_node: rate,
        id_block: block,
        seconds,
        rows: result.inserted,
        lost: part(result.lost),
        strayed_children: part(result.strayed),
        highest_id_per_row: Number(result.spread.toFixed(1)),
      }),
    );
  }
