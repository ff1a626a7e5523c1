/**
 * Attacks on a cluster of three nodes on this machine, with memory, descriptors and latency of the attacked node after each:
 * connections without the cluster key, processes with the key that are no members, and an admitted member that sends junk
 * entries, far terms, snapshot offers, and floods of joins, records and subscriptions. Needs dist/marmot.
 *
 *   bun scripts/hostile.ts [--connections N] [--holders N] [--messages N] [--topics N] [--records N] [--seed S]
 */
import { hostileRound } from "../test/faults/hostile-round.ts";
import { parseScriptArgs } from "./lib/usage.ts";

const { values } = parseScriptArgs(import.meta.path, {
  connections: { type: "string", default: "10000" },
  holders: { type: "string", default: "50" },
  messages: { type: "string", default: "2000" },
  topics: { type: "string", default: "100000" },
  records: { type: "string", default: "500" },
  seed: { type: "string", default: "1" },
});
const number = (name: keyof typeof values): number => Number(values[name]);
console.log(
  "| after | memory, MB | descriptors | commit to visible, p50 / longest, ms |\n| --- | --- | --- | --- |",
);
await hostileRound(
  {
    seed: number("seed"),
    connections: number("connections"),
    holders: number("holders"),
    messages: number("messages"),
    topics: number("topics"),
    records: number("records"),
  },
  ({ after, memory, descriptors, p50, longest }) =>
    console.log(`| ${after} | ${memory} | ${descriptors} | ${p50.toFixed(1)} / ${longest.toFixed(1)} |`),
);
