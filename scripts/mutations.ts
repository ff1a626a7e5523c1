/**
 * Shows that the simulator finds bugs: applies each mutation of test/simulation/mutations.ts to a copy of the tree and
 * runs seeds until one fails. Ends with 1 when a mutation was not caught within its seeds.
 *
 *   bun scripts/mutations.ts [--only TEXT] [--skip N] [--jobs J] [--write] [--differential]
 *
 * --only: mutations with this text in their names; --write: puts the outcomes into the table of docs/simulation.md;
 * --differential: the mutations of test/differential/mutations.ts, the differential test and docs/differential.md.
 */
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { MUTATIONS as OF_FIDELITY } from "../test/differential/mutations.ts";
import { type Mutation, MUTATIONS as OF_PROTOCOL } from "../test/simulation/mutations.ts";
import { parseScriptArgs } from "./lib/usage.ts";

const ROOT = join(import.meta.dir, "..");

const { values } = parseScriptArgs(import.meta.path, {
  only: { type: "string" },
  skip: { type: "string", default: "0" },
  write: { type: "boolean", default: false },
  jobs: { type: "string" },
  differential: { type: "boolean", default: false },
});
const MUTATIONS = values.differential ? OF_FIDELITY : OF_PROTOCOL;
const SCRIPT = values.differential ? "scripts/differential.ts" : "scripts/simulate.ts";
const DOC = join(ROOT, values.differential ? "docs/differential.md" : "docs/simulation.md");

/** Of one test: a slow file alone is no proof. */
const TEST_TIMEOUT_MS = "120000";

interface Outcome {
  readonly mutation: Mutation;
  /** The seed that found it; 0: a test found it; null: it was not found. */
  readonly seed: number | null;
  readonly problem: string;
}

function copyTree(): string {
  const folder = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "marmot-mutation-"));
  for (const name of ["src", "test", "scripts", "assets", "package.json", "tsconfig.json", "bunfig.toml"])
    if (existsSync(join(ROOT, name))) cpSync(join(ROOT, name), join(folder, name), { recursive: true });
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
      const { code, output } = await run(folder, ["test", "--timeout", TEST_TIMEOUT_MS, mutation.test]);
      const failed = /^\(fail\) (.*)$/m.exec(output)?.[1];
      if (code !== 0 && failed === undefined)
        throw new Error(`mutation "${mutation.name}": ${output.slice(-1000)}`);
      return { mutation, seed: failed === undefined ? null : 0, problem: failed ?? "" };
    }
    const seeds = String(mutation.within);
    const { output } = await run(folder, [
      ...[SCRIPT, "first", "1", seeds],
      ...(mutation.keyless === true ? ["--keyless"] : []),
      ...(mutation.custody === true ? ["--custody"] : []),
      ...(mutation.generated === true ? ["--generated"] : []),
    ]);
    const found = /^seed (\d+): (.*)$/m.exec(output);
    if (found === null && !/^no seed$/m.test(output))
      throw new Error(`mutation "${mutation.name}": ${output}`);
    return { mutation, seed: found === null ? null : Number(found[1]), problem: found?.[2] ?? "" };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const cell = (text: string): string => text.replaceAll("|", "\\|").slice(0, 140);

function row({ mutation, seed }: Outcome): string {
  const found = seed === null ? "**not caught**" : seed === 0 ? "a test" : `seed ${seed}`;
  const within = mutation.test ?? String(mutation.within);
  return `| ${cell(mutation.name)} | ${within} | ${found} |`;
}

/** Puts an outcome into the table of the document, in the order of the list; other lines stay. */
function write(outcome: Outcome): void {
  const text = readFileSync(DOC, "utf8");
  const marks = /(<!-- mutations -->\n)([\s\S]*)(<!-- end -->)/;
  const lines = new Map<string, string>();
  for (const line of marks.exec(text)![2]!.split("\n")) {
    const name = /^\| (.*?) \|/.exec(line)?.[1]?.trim();
    if (name !== undefined) lines.set(name, line);
  }
  lines.set(cell(outcome.mutation.name), row(outcome));
  const rows = MUTATIONS.flatMap(({ name }) => lines.get(cell(name)) ?? []);
  const head = ["| broken rule | within | found by |", "| --- | --- | --- |"];
  const table = [...head, ...rows].join("\n");
  writeFileSync(
    DOC,
    text.replace(marks, (_all, from: string, _old: string, to: string) => `${from}\n${table}\n\n${to}`),
  );
}

const wanted = MUTATIONS.slice(Number(values.skip)).filter(({ name }) => name.includes(values.only ?? ""));
const outcomes: Outcome[] = [];
const queue = [...wanted];
await Promise.all(
  Array.from({ length: Number(values.jobs ?? cpus().length) }, async () => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      const outcome = await attempt(next);
      outcomes.push(outcome);
      if (values.write) write(outcome);
      const { seed } = outcome;
      console.log(
        `${seed === null ? "NOT CAUGHT" : seed === 0 ? "test" : `seed ${seed}`}\t${next.name}\t${outcome.problem.slice(0, 160)}`,
      );
    }
  }),
);
const missed = outcomes.filter((o) => o.seed === null).length;
console.log(`${outcomes.length - missed} of ${outcomes.length} caught`);
process.exit(missed === 0 ? 0 : 1);
