/**
 * Whole nodes in the simulator. Runs seeds on all cores and stops at the first one with a problem; then it removes
 * actions of the plan that the problem does not need, and prints the command that replays the rest.
 *
 *   bun scripts/simulate.ts [--seeds N] [--from S] [--jobs J] [--keyless] [--schema] [--custody] [--generated] [--save NAME]
 *   bun scripts/simulate.ts --from S [--only 3,7,12] [--verbose]      runs one seed
 *   bun scripts/simulate.ts --file PATH [--verbose]                   runs a kept plan
 *
 * --keyless: with a table without a declared key; --schema: with schema changes; --custody: with emptied change logs; --generated: with tables and statements
 * of the generator of the differential test, with --schema also its migrations. --only: these actions of the plan alone;
 * --verbose: every event; --progress: a line for each batch; --save: keeps the reduced plan in test/simulation/failed.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";
import { draw, type Plan, withCustody, withGenerated, withMigrations } from "../test/simulation/plan.ts";
import { replayCommand, reportOf } from "../test/simulation/report.ts";
import { keep, shrink } from "../test/simulation/shrink.ts";
import { shrinkStatements } from "../test/simulation/shrink-statements.ts";
import { type Result, simulate } from "../test/simulation/simulation.ts";
import { parseScriptArgs } from "./lib/usage.ts";

/** Seeds that one process runs before another is started. The first dozens are slower, until all code is compiled. */
const SEEDS_PER_PROCESS = 250;
const SHRINK_MS = 120_000;
/**
 * In a process of some minutes, neither the last compiler tier of JavaScriptCore nor the return of memory between two seeds
 * pays off. Neither setting changes the course of a seed.
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

const { values, positionals } = parseScriptArgs(import.meta.path, {
  seeds: { type: "string", default: "100" },
  from: { type: "string", default: "1" },
  jobs: { type: "string", default: String(cpus().length) },
  only: { type: "string" },
  file: { type: "string" },
  save: { type: "string" },
  verbose: { type: "boolean", default: false },
  progress: { type: "boolean", default: false },
  keyless: { type: "boolean", default: false },
  schema: { type: "boolean", default: false },
  custody: { type: "boolean", default: false },
  generated: { type: "boolean", default: false },
});

/** The options that change plans, for the processes of the batches. */
const KINDS = (["keyless", "schema", "custody", "generated"] as const)
  .filter((kind) => values[kind])
  .map((kind) => `--${kind}`);

function planOf(seed: number): Plan {
  if (values.generated) return withGenerated(draw(seed), values.schema);
  const drawn = values.schema ? withMigrations(draw(seed)) : draw(seed);
  const plan = values.custody ? withCustody(drawn) : drawn;
  return values.keyless ? { ...plan, keyless: true } : plan;
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
    [process.execPath, import.meta.path, "batch", String(from), String(seeds), ...KINDS],
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
  for (const line of reportOf(result)) console.log(line);
}

/** Keeps the plan, not the seed: a seed draws another plan when the drawing of plans changes. */
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
      `seed ${seed} failed before and passes now: something in the simulation is not drawn from the seed`,
    );
    return;
  }
  console.log(`seed ${seed}: ${failed.plan.actions.length} actions; looking for a smaller plan that fails …`);
  const { result: fewer, kept, runs } = await shrink(failed, SHRINK_MS);
  console.log(`${kept.length} actions are enough (${runs} runs):`);
  const result = values.generated ? await shrinkStatements(fewer, SHRINK_MS) : fewer;
  for (const text of result.plan.generated?.schema ?? []) console.log(`  ${text};`);
  for (const { at, action } of result.plan.actions) console.log(`  ${at} ${JSON.stringify(action)}`);
  show(result);
  if (save !== undefined) savePlan(save, result);
  console.log(replayCommand(planOf(seed), kept));
}

const keptPlan = (path: string): Plan => (JSON.parse(readFileSync(path, "utf8")) as { plan: Plan }).plan;

async function main(): Promise<number> {
  const from = Number(values.from);
  const seeds = Number(values.seeds);
  if (values.file !== undefined || values.only !== undefined || values.verbose) {
    const plan = values.file === undefined ? planOf(from) : keptPlan(values.file);
    const kept = values.only === "none" ? [] : values.only?.split(",").map(Number);
    const result = await simulate(kept === undefined ? plan : keep(plan, kept), { verbose: values.verbose });
    show(result);
    console.log(result.problems.length === 0 ? "no problem" : `${result.problems.length} problems`);
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

/** For scripts/mutations.ts: the first seed that fails, with its first problem. */
async function first(from: number, seeds: number): Promise<void> {
  for (let seed = from; seed < from + seeds; seed++) {
    const { problems } = await simulate(planOf(seed));
    if (problems.length === 0) continue;
    console.log(`seed ${seed}: ${problems[0]!.split("\n")[0]}`);
    return;
  }
  console.log("no seed");
}

const [command, from, seeds] = positionals;
if (command === "batch") console.log(JSON.stringify(await batch(Number(from), Number(seeds))));
else if (command === "first") await first(Number(from), Number(seeds));
else process.exitCode = await main();
// Connections that a simulated crash left half open would delay the end until garbage collection.
process.exit();
