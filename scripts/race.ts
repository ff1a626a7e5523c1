/**
 * The race of SQLite's WAL-reset bug, over several SQLite versions of the application. Plays rounds of each version until the
 * WAL was restarted N times in all (default 1,000). A round with several connections runs on a fixed version, since an old one
 * can damage the file without Marmot. Needs dist/marmot, a C compiler and the package registry.
 *
 *   bun scripts/race.ts [--restarts N] [--seed S] [--versions A,B] [--commits N]
 */
import { buildApplication, PACKAGES } from "../test/faults/race/build.ts";
import { race } from "../test/faults/race/race.ts";
import { parseScriptArgs } from "./lib/usage.ts";

const FIXED = "3.53.2";
/** For many restarts, and as SQLite has it by itself, with pauses in which a checkpoint of Marmot would come in between. */
const PAUSES = [
  { autocheckpoint: 4, beforeLockUs: 3000, afterReadUs: 10_000 },
  { autocheckpoint: 4, beforeLockUs: 1000, afterReadUs: 3000 },
  { autocheckpoint: 1000, beforeLockUs: 100_000, afterReadUs: 300_000 },
];
const { values } = parseScriptArgs(import.meta.path, {
  restarts: { type: "string", default: "1000" },
  seed: { type: "string", default: "1" },
  versions: { type: "string" },
  commits: { type: "string", default: "3000" },
});
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => process.exit(1));
const rounds = (values.versions?.split(",") ?? Object.keys(PACKAGES)).map((version) => ({
  version,
  connections: 1,
}));
if (rounds.some(({ version }) => version === FIXED)) rounds.push({ version: FIXED, connections: 3 });
let seed = Number(values.seed);
let restarts = 0;
let tried = 0;
for (;;) {
  for (const { version, connections } of rounds) {
    const application = buildApplication(version);
    if ("missing" in application) {
      console.log(`SQLite ${version} left out: ${application.missing}`);
      continue;
    }
    const result = await race({
      ...PAUSES[tried % PAUSES.length]!,
      ...{ application: application.path, seed: seed++, connections },
      commits: Math.ceil(Number(values.commits) / connections),
    });
    tried++;
    restarts += result.restarts;
    const { acknowledged, checkpoints, whole, stale } = result;
    console.log(
      `SQLite ${version}, ${connections} connection(s), seed ${seed - 1}: ${acknowledged} commits, ${result.restarts} restarts, ` +
        `${checkpoints} checkpoints, ${whole} of a WAL that was wholly in the file, ${stale} with a restart under them`,
    );
    if (result.wrong.length === 0) continue;
    console.log(result.wrong.join("\n"));
    process.exit(1);
  }
  if (tried === 0) process.exit(1);
  if (restarts >= Number(values.restarts)) break;
}
console.log(`${restarts} restarts of the WAL: nothing lost, nothing damaged`);
process.exit(0);
