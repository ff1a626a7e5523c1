/**
 * Can the simulator find bugs? Applies each of test/simulation/mutations.ts to a copy of the tree and runs seeds until one
 * fails: bun scripts/mutations.ts [--only TEXT] [--write]. --write puts the table into docs/simulation.md. Ends with 1 when
 * a mutation was not caught within its seeds.
 */
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { type Mutation, MUTATIONS } from "../test/simulation/mutations.ts";

const ROOT = join(import.meta.dir, "..");
const DOC = join(ROOT, "docs/simulation.md");

interface Outcome {
  readonly mutation: Mutation;
  /** The seed that found it; 0: a test did; null: nothing did. */
  readonly seed: number | null;
  readonly problem: string;
}

function copyTree(): string {
  const folder = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "marmot-mutation-"));
  for (const name of ["src", "test", "scripts", "package.json", "tsconfig.json", "bunfig.toml"])
    cpSync(join(ROOT, name), join(folder, name), { recursive: true });
  symlinkSync(join(ROOT, "node_modules"), join(folder, "node_modules"));
  return folder;
}

function apply(folder: string, { name, edits }: Mutation): void {
  for (const { file, find, replace } of edits) {
    const path = join(folder, "src", file);
    const text = readFileSync(path, "utf8");
    const count = text.split(find).length - 1;
    if (count !== 1)
      throw new Error(`mutation "${name}": expected its text once in src/${file}, found it ${count} times`);
    writeFileSync(
      path,
      text.replace(find, () => replace),
    );
  }
}

async function run(folder: string, args: readonly string[]): Promise<{ code: number; output: string }> {
  const child = Bun.spawn([process.execPath, ...args], { cwd: folder, stdout: "pipe", stderr: "pipe" });
  const [out, error] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
  ]);
  return { code: await child.exited, output: out + error };
}

async function attempt(mutation: Mutation): Promise<Outcome> {
  const folder = copyTree();
  try {
    apply(folder, mutation);
    if (mutation.test !== undefined) {
      const { code, output } = await run(folder, ["test", mutation.test]);
      const failed = /^\(fail\) (.*)$/m.exec(output)?.[1] ?? "";
      return { mutation, seed: code === 0 ? null : 0, problem: failed };
    }
    const seeds = String(mutation.within);
    const { output } = await run(folder, ["scripts/simulate.ts", "first", "1", seeds]);
    const found = /^seed (\d+): (.*)$/m.exec(output);
    if (found === null && !/^no seed$/m.test(output))
      throw new Error(`mutation "${mutation.name}": ${output}`);
    return { mutation, seed: found === null ? null : Number(found[1]), problem: found?.[2] ?? "" };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const cell = (text: string): string => text.replaceAll("|", "\\|").slice(0, 140);

function table(outcomes: readonly Outcome[]): string {
  const rows = outcomes.map(({ mutation, seed, problem }) => {
    const found = seed === null ? "**not caught**" : seed === 0 ? "a test" : `seed ${seed}`;
    const within = mutation.test ?? String(mutation.within);
    return `| ${cell(mutation.name)} | ${within} | ${found} | ${cell(problem)} |`;
  });
  return ["| broken rule | within | found by | what was seen |", "| --- | --- | --- | --- |", ...rows].join(
    "\n",
  );
}

const { values } = parseArgs({
  options: { only: { type: "string" }, write: { type: "boolean", default: false }, jobs: { type: "string" } },
});
const wanted = MUTATIONS.filter(({ name }) => name.includes(values.only ?? ""));
const outcomes: Outcome[] = [];
const queue = [...wanted];
await Promise.all(
  Array.from({ length: Number(values.jobs ?? cpus().length) }, async () => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      const outcome = await attempt(next);
      outcomes.push(outcome);
      const { seed } = outcome;
      console.log(
        `${seed === null ? "NOT CAUGHT" : seed === 0 ? "test" : `seed ${seed}`}\t${next.name}\t${outcome.problem.slice(0, 160)}`,
      );
    }
  }),
);
outcomes.sort((a, b) => MUTATIONS.indexOf(a.mutation) - MUTATIONS.indexOf(b.mutation));
if (values.write) {
  const text = readFileSync(DOC, "utf8");
  const marks = /(<!-- mutations -->\n)[\s\S]*(\n<!-- end -->)/;
  writeFileSync(
    DOC,
    text.replace(marks, (_all, from: string, to: string) => `${from}\n${table(outcomes)}\n${to}`),
  );
}
const missed = outcomes.filter((o) => o.seed === null).length;
console.log(`${outcomes.length - missed} of ${outcomes.length} caught`);
process.exit(missed === 0 ? 0 : 1);
