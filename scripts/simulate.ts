/**
 * Whole nodes in the simulator: bun scripts/simulate.ts [--seeds N] [--from S] [--jobs J]. Runs the seeds on all cores and
 * stops at the first after which something is wrong, which it cuts down to the actions that matter; then it prints the
 * command that replays them; --save NAME keeps them in test/simulation/failed. --only 3,7,12 keeps these actions of the plan, --verbose says everything that happens,
 * --keyless adds a table without a declared key, --schema changes of the schema; --generated takes tables and statements of
 * the differential test's generator, with --schema its migrations, too.
 */
import { writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { draw, type Plan, withGenerated, withMigrations } from "../test/simulation/plan.ts";
import { keep, shrink } from "../test/simulation/shrink.ts";
import { shrinkStatements } from "../test/simulation/shrink-statements.ts";
import { type Result, simulate } from "../test/simulation/simulation.ts";

/** Seeds that one process runs before a fresh one takes over: the first dozens are slower, until all is compiled. */
const SEEDS_PER_PROCESS = 250;
const SHRINK_MS = 120_000;
/**
 * A process of some minutes does not earn back what JavaScriptCore's last tier of compiling costs, nor what giving memory
 * back between two seeds does. Neither changes what a seed does.
 */
const BATCH_ENVIRONMENT = { BUN_JSC_useFTLJIT: "0", MIMALLOC_PURGE_DELAY: "-1" };

interface Batch {
  readonly seeds: number;
  readonly simulatedMs: number;
  readonly cpuMs: number;
  readonly counts: Record<string, number>;
  /** The seed that failed; null: none did. */
  readonly failed: number | null;
}

/** Also of the processes that main starts. */
const KEYLESS = "--keyless";
const isKeyless = process.argv.includes(KEYLESS);

const SCHEMA = "--schema";
const changesSchema = process.argv.includes(SCHEMA);

const GENERATED = "--generated";
const isGenerated = process.argv.includes(GENERATED);

function planOf(seed: number): Plan {
  if (isGenerated) return withGenerated(draw(seed), changesSchema);
  const plan = changesSchema ? withMigrations(draw(seed)) : draw(seed);
  return isKeyless ? { ...plan, keyless: true } : plan;
}

async function batch(from: number, seeds: number): Promise<Batch> {
  const before = process.cpuUsage();
  const counts: Record<string, number> = {};
  let simulatedMs = 0;
  for (let seed = from; seed < from + seeds; seed++) {
    const result = await simulate(planOf(seed));
    simulatedMs += result.simulatedMs;
    for (const [name, n] of Object.entries(result.counts)) counts[name] = (counts[name] ?? 0) + n;
    if (result.problems.length === 0) continue;
    return { seeds: seed - from + 1, simulatedMs, cpuMs: cpuSince(before), counts, failed: seed };
  }
  return { seeds, simulatedMs, cpuMs: cpuSince(before), counts, failed: null };
}

const cpuSince = (before: NodeJS.CpuUsage): number => {
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
};

async function spawnBatch(from: number, seeds: number): Promise<Batch> {
  const child = Bun.spawn(
    [
      process.execPath,
      import.meta.path,
      "batch",
      String(from),
      String(seeds),
      ...(isKeyless ? [KEYLESS] : []),
      ...(changesSchema ? [SCHEMA] : []),
      ...(isGenerated ? [GENERATED] : []),
    ],
    {
      env: { ...process.env, ...BATCH_ENVIRONMENT },
      stdout: "pipe",
      stderr: "inherit",
    },
  );
  const text = await new Response(child.stdout).text();
  if ((await child.exited) !== 0)
    throw new Error(`seeds from ${from}: the process ended with ${child.exitCode}`);
  return JSON.parse(text) as Batch;
}

function show(result: Result): void {
  for (const line of result.trace.slice(-40)) console.log(`  ${line}`);
  for (const line of result.story) console.log(line);
  for (const problem of result.problems.slice(0, 10)) console.log(`WRONG ${problem}`);
}

/** Seeds mean other plans when the drawing of plans changes: what failed is kept as a plan. */
function savePlan(name: string, { plan, problems }: Result): void {
  const { actions, ...rest } = plan;
  const lines = actions.map((action) => JSON.stringify(action)).join(",\n");
  const head = `{"found": ${JSON.stringify(problems[0]!.split("\n")[0])},\n"plan": ${JSON.stringify(rest).slice(0, -1)}, "actions": [\n`;
  writeFileSync(join(import.meta.dir, `../test/simulation/failed/${name}.json`), `${head}${lines}\n]}}\n`);
}

async function explain(seed: number, save: string | undefined): Promise<void> {
  const failed = await simulate(planOf(seed));
  show(failed);
  if (failed.problems.length === 0) {
    console.log(
      `seed ${seed} failed before and does not now: something in the simulation is not drawn from the seed`,
    );
    return;
  }
  console.log(`seed ${seed}: ${failed.plan.actions.length} actions; looking for fewer that fail as well …`);
  const { result: fewer, kept, runs } = await shrink(failed, SHRINK_MS);
  console.log(`${kept.length} actions are enough (${runs} runs):`);
  const result = isGenerated ? await shrinkStatements(fewer, SHRINK_MS) : fewer;
  for (const text of result.plan.generated?.schema ?? []) console.log(`  ${text};`);
  for (const { at, action } of result.plan.actions) console.log(`  ${at} ${JSON.stringify(action)}`);
  show(result);
  if (save !== undefined) savePlan(save, result);
  console.log(
    `again: bun scripts/simulate.ts --from ${seed} --seeds 1 --only ${kept.join(",") || "none"} --verbose${isKeyless ? ` ${KEYLESS}` : ""}${changesSchema ? ` ${SCHEMA}` : ""}${isGenerated ? ` ${GENERATED}` : ""}`,
  );
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      seeds: { type: "string", default: "100" },
      from: { type: "string", default: "1" },
      jobs: { type: "string", default: String(cpus().length) },
      only: { type: "string" },
      save: { type: "string" },
      verbose: { type: "boolean", default: false },
      progress: { type: "boolean", default: false },
      keyless: { type: "boolean", default: false },
      schema: { type: "boolean", default: false },
      generated: { type: "boolean", default: false },
    },
  });
  const from = Number(values.from);
  const seeds = Number(values.seeds);
  if (values.only !== undefined || values.verbose) {
    const plan = planOf(from);
    const kept = values.only === "none" ? [] : values.only?.split(",").map(Number);
    const result = await simulate(kept === undefined ? plan : keep(plan, kept), { verbose: values.verbose });
    show(result);
    console.log(result.problems.length === 0 ? "nothing is wrong" : `${result.problems.length} problems`);
    return result.problems.length === 0 ? 0 : 1;
  }
  const done: Batch[] = [];
  const atOnce = Math.min(SEEDS_PER_PROCESS, Math.ceil(seeds / Number(values.jobs)));
  let next = from;
  let failed: number | null = null;
  const start = performance.now();
  const worker = async (): Promise<void> => {
    while (next < from + seeds && failed === null) {
      const first = next;
      next += atOnce;
      const result = await spawnBatch(first, Math.min(atOnce, from + seeds - first));
      done.push(result);
      if (process.stderr.isTTY || values.progress)
        console.error(`${first} to ${first + result.seeds - 1} done`);
      if (result.failed !== null) failed = Math.min(failed ?? Number.POSITIVE_INFINITY, result.failed);
    }
  };
  await Promise.all(Array.from({ length: Number(values.jobs) }, worker));
  const sum = (of: (b: Batch) => number): number => done.reduce((total, b) => total + of(b), 0);
  const simulated = sum((b) => b.simulatedMs);
  const count = (name: string): number => sum((b) => b.counts[name] ?? 0);
  console.log(
    `${sum((b) => b.seeds)} seeds from ${from}: ${Math.round(simulated / 1000)} simulated seconds in ${Math.round((performance.now() - start) / 1000)} s, ` +
      `${(simulated / sum((b) => b.cpuMs)).toFixed(1)} simulated seconds per CPU second`,
  );
  console.log(
    `${count("transactions")} transactions, ${count("crashes")} crashes, ${count("entries")} entries, ` +
      `${count("comparisons")} comparisons of a file with its replica, ${count("equalDigests")} of two replicas`,
  );
  if (failed === null) return 0;
  await explain(failed, values.save);
  return 1;
}

/** For scripts/mutations.ts: the first seed that fails, and how. */
async function first(from: number, seeds: number): Promise<void> {
  for (let seed = from; seed < from + seeds; seed++) {
    const { problems } = await simulate(planOf(seed));
    if (problems.length === 0) continue;
    console.log(`seed ${seed}: ${problems[0]!.split("\n")[0]}`);
    return;
  }
  console.log("no seed");
}

const [command, from, seeds] = process.argv.slice(2);
if (command === "batch") console.log(JSON.stringify(await batch(Number(from), Number(seeds))));
else if (command === "first") await first(Number(from), Number(seeds));
else process.exitCode = await main();
// Connections that a crash left half open may wait for garbage collection; nobody waits for that.
process.exit();
