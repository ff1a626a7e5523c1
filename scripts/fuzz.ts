/**
 * Hostile inputs against each reader of bytes from outside: frames, messages, entries, snapshots, keys, configuration files,
 * the admin API. Stops at the first input that breaks a rule, and prints it.
 *
 *   bun scripts/fuzz.ts [--inputs N] [--seed S] [--only NAME]
 *
 * --inputs: of all targets together (a million); --only: this target alone, by its name in test/fuzz/fuzz.ts.
 */
import { fuzz, TARGETS } from "../test/fuzz/fuzz.ts";
import { parseScriptArgs } from "./lib/usage.ts";

const { values } = parseScriptArgs(import.meta.path, {
  inputs: { type: "string", default: "1000000" },
  seed: { type: "string", default: String(Date.now() % 1_000_000) },
  only: { type: "string" },
});
const targets = Object.entries(TARGETS).filter(([name]) => values.only === undefined || name === values.only);
if (targets.length === 0) {
  console.error(`there is no target ${values.only}; there are ${Object.keys(TARGETS).join(", ")}`);
  process.exit(2);
}
const each = Math.ceil(Number(values.inputs) / targets.length);
let total = 0;
for (const [name, make] of targets) {
  const start = performance.now();
  const found = await fuzz(make, Number(values.seed), each);
  if (found !== null) {
    console.error(`${name}, seed ${values.seed}: input ${found.number} breaks the rule: ${found.input}`);
    console.error(found.error);
    process.exit(1);
  }
  total += each;
  const memory = Math.round(process.memoryUsage.rss() / (1 << 20));
  console.log(
    `${name}: ${each} inputs in ${((performance.now() - start) / 1000).toFixed(1)} s, ${memory} MB`,
  );
}
console.log(`${total} inputs, seed ${values.seed}: no rule was broken`);
