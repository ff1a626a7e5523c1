/**
 * The differential test: random schemas and transactions on three nodes and on one plain SQLite file, with equal results.
 * Stops at the first case that fails, reduces it, and prints the command that repeats it.
 *
 *   bun scripts/differential.ts [--cases N] [--from S] [--jobs J] [--real] [--save NAME]
 *   bun scripts/differential.ts --show --from S        prints and runs one case
 *   bun scripts/differential.ts --file PATH            prints and runs a kept case
 *
 * It runs in simulated time, with --real on processes of the compiled binary. --save keeps the reduced case in
 * test/differential/failed.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";
import type { Case, KeptCase } from "../test/differential/case.ts";
import { type Draft, render } from "../test/differential/draft.ts";
import { draw, OPTIONS } from "../test/differential/draw.ts";
import { runReal } from "../test/differential/processes.ts";
import { problemsOf, replayCommand, statementsOf } from "../test/differential/report.ts";
import { shrink } from "../test/differential/shrink.ts";
import { runSimulated } from "../test/differential/simulated.ts";
import type { Verdict } from "../test/differential/verdict.ts";
import { parseScriptArgs } from "./lib/usage.ts";

/** Cases that one process runs before another is started. */
const CASES_PER_PROCESS = 50;
const SHRINK_MS = 180_000;
const BROKE = "it broke";

const { values, positionals } = parseScriptArgs(import.meta.path, {
  cases: { type: "string", default: "100" },
  from: { type: "string", default: "1" },
  jobs: { type: "string", default: String(cpus().length) },
  save: { type: "string" },
  file: { type: "string" },
  /** For several processes: no shrinking, one line of JSON. */
  batch: { type: "boolean", default: false },
  real: { type: "boolean", default: false },
  show: { type: "boolean", default: false },
});

interface Batch {
  readonly cases: number;
  readonly steps: number;
  readonly statements: number;
  readonly refused: number;
  readonly cpuMs: number;
  readonly failed: number | null;
  readonly problem: string;
}

async function verdictOf(it: Case): Promise<Verdict> {
  try {
    return await (values.real ? runReal(it) : runSimulated(it));
  } catch (error) {
    return { problems: [`${BROKE}: ${error instanceof Error ? error.stack : String(error)}`], refused: null };
  }
}

async function batch(from: number, cases: number): Promise<Batch> {
  const before = process.cpuUsage();
  let [steps, statements, refused] = [0, 0, 0];
  const sum = (done: number, failed: number | null, problem: string): Batch => {
    const { user, system } = process.cpuUsage(before);
    return { cases: done, steps, statements, refused, cpuMs: (user + system) / 1000, failed, problem };
  };
  for (let seed = from; seed < from + cases; seed++) {
    const it = render(draw(seed, OPTIONS));
    const verdict = await verdictOf(it);
    steps += it.steps.length;
    statements += it.steps.reduce((n, step) => n + step.sql.length, 0);
    if (verdict.refused !== null) refused++;
    if (verdict.problems.length > 0) return sum(seed - from + 1, seed, verdict.problems[0]!);
  }
  return sum(cases, null, "");
}

async function spawnBatch(from: number, cases: number): Promise<Batch> {
  const args = [
    "--batch",
    "--from",
    String(from),
    "--cases",
    String(cases),
    ...(values.real ? ["--real"] : []),
  ];
  const child = Bun.spawn([process.execPath, import.meta.path, ...args], {
    stdout: "pipe",
    stderr: "inherit",
  });
  const text = await new Response(child.stdout).text();
  if ((await child.exited) !== 0)
    throw new Error(`cases from ${from}: the process ended with ${child.exitCode}`);
  return JSON.parse(text) as Batch;
}

function print(lines: readonly string[]): void {
  for (const line of lines) console.log(line);
}

/** The kind of a problem. A smaller case must show the same kind, or it may have another cause. */
const kindOf = (problem: string): string =>
  [
    BROKE,
    "plain SQLite says",
    "schema: ",
    "misses",
    "conflicts",
    "checksum",
    "stopped",
    "no rest",
    "replica",
    "index",
  ].find((k) => problem.includes(k)) ?? "";

async function explain(seed: number): Promise<void> {
  const failing = draw(seed, OPTIONS);
  const first = await verdictOf(render(failing));
  print(problemsOf(first.problems));
  if (first.problems.length === 0) {
    console.log(`case ${seed} failed before and passes now`);
    return;
  }
  const kind = kindOf(first.problems[0]!);
  const fails = async (draft: Draft): Promise<boolean> => {
    const { problems } = await verdictOf(render(draft));
    return problems.length > 0 && kindOf(problems[0]!) === kind;
  };
  const { draft, runs } = await shrink(failing, fails, SHRINK_MS);
  const small = render(draft);
  console.log(`the smallest failing case of ${runs} runs:`);
  print(statementsOf(small));
  const { problems } = await verdictOf(small);
  print(problemsOf(problems));
  const kept: KeptCase = { found: (problems[0] ?? first.problems[0]!).split("\n")[0]!, case: small };
  if (values.save !== undefined)
    writeFileSync(
      join(import.meta.dir, `../test/differential/failed/${values.save}.json`),
      `${JSON.stringify(kept, null, 1)}\n`,
    );
  console.log(replayCommand(seed, values.real));
}

async function main(): Promise<number> {
  const [from, cases] = [Number(values.from), Number(values.cases)];
  if (values.file !== undefined || values.show) {
    const it =
      values.file === undefined
        ? render(draw(from, OPTIONS))
        : (JSON.parse(readFileSync(values.file, "utf8")) as KeptCase).case;
    print(statementsOf(it));
    const { problems, refused } = await verdictOf(it);
    print(problemsOf(problems));
    console.log(refused ?? (problems.length === 0 ? "no problem" : `${problems.length} problems`));
    return problems.length === 0 ? 0 : 1;
  }
  const done: Batch[] = [];
  let next = from;
  let failed: number | null = null;
  const start = performance.now();
  const size = values.real ? 5 : CASES_PER_PROCESS;
  const worker = async (): Promise<void> => {
    while (next < from + cases && failed === null) {
      const first = next;
      next += size;
      const result = await spawnBatch(first, Math.min(size, from + cases - first));
      done.push(result);
      if (process.stderr.isTTY) console.error(`${first} to ${first + result.cases - 1} done`);
      if (result.failed !== null) failed = Math.min(failed ?? Number.POSITIVE_INFINITY, result.failed);
    }
  };
  await Promise.all(Array.from({ length: Number(values.jobs) }, worker));
  const sum = (of: (b: Batch) => number): number => done.reduce((total, b) => total + of(b), 0);
  const ran = sum((b) => b.cases);
  console.log(
    `${ran} cases from ${from}: ${sum((b) => b.steps)} steps, ${sum((b) => b.statements)} statements, ${sum((b) => b.refused)} refused; ` +
      `${((performance.now() - start) / 1000).toFixed(0)} s, ${(ran / (sum((b) => b.cpuMs) / 1000)).toFixed(1)} cases per CPU second`,
  );
  if (failed === null) return 0;
  await explain(failed);
  return 1;
}

/** For scripts/mutations.ts: the first case that fails, with its first problem. */
async function first(from: number, cases: number): Promise<void> {
  const { failed, problem } = await batch(from, cases);
  console.log(failed === null ? "no seed" : `seed ${failed}: ${problem.split("\n")[0]}`);
}

const [command, start, count] = positionals;
if (command === "first") await first(Number(start), Number(count));
else if (values.batch) console.log(JSON.stringify(await batch(Number(values.from), Number(values.cases))));
else process.exitCode = await main();
process.exit();
