/** An operator's ten questions and a newcomer's first day: each command as README and docs print it, on a real cluster. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { Database } from "bun:sqlite";
import { cpSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { freePorts } from "../../src/cli/free-ports.ts";
import type { NodeStatus } from "../../src/operations/api.ts";
import { BINARY, type Result, TestCluster, type TestNode, until } from "./lab.ts";

const ROOT = join(import.meta.dir, "../..");
const README = readFileSync(join(ROOT, "README.md"), "utf8");
const TABLE = readFileSync(join(ROOT, "docs/operations.md"), "utf8").split("## Is it healthy?")[0]!;

/** The commands of README's code blocks that begin with the words. */
const ofReadme = (...words: string[]): string[] =>
  [...README.matchAll(/^marmot .+$/gm)].map(([line]) => line).filter((l) => l.startsWith(words.join(" ")));
/** The commands of a row of the table of questions. */
function answers(question: string): string[] {
  const row = TABLE.split("\n").find((line) => line.startsWith(`| ${question} |`));
  if (row === undefined) throw new Error(`the table has no question ${question}`);
  return [...row.matchAll(/`(marmot [^`]+)`/g)].map((m) => m[1]!);
}
const [FIRST, NEXT] = ofReadme("marmot run") as [string, string];

let cluster: TestCluster;
/** Values of this machine in the place of those that the documents have. */
const here: [given: string, real: string][] = [];
let machines: TestNode[] = [];

const words = (command: string): string[] =>
  here
    .reduce((text, [given, real]) => text.replaceAll(given, real), command)
    .split(" ")
    .slice(1);

/** The machine's own values are in its environment. */
const surroundings = (machine: TestNode): Record<string, string | undefined> => ({
  ...{
    ...process.env,
    NO_COLOR: "1",
    MARMOT_LISTEN: machine.address,
    MARMOT_ADMIN: `127.0.0.1:${machine.admin}`,
  },
  MARMOT_NAME: `node-${machines.indexOf(machine) + 1}`,
});

function launch(machine: TestNode, command: string): void {
  machine.process = Bun.spawn([BINARY, ...words(command)], {
    ...{ cwd: machine.folder, env: surroundings(machine), stdin: "ignore" },
    ...{ stdout: "ignore", stderr: Bun.file(join(cluster.folder, `${machine.name}.log`)) },
  });
}

async function say(machine: TestNode, command: string): Promise<Result> {
  const child = Bun.spawn([BINARY, ...words(command)], {
    ...{ cwd: machine.folder, env: surroundings(machine), stdin: "ignore", stdout: "pipe", stderr: "pipe" },
  });
  const [stdout, stderr] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
  ]);
  return { code: await child.exited, stdout, stderr };
}

/** The output of a command that must succeed. */
async function done(machine: TestNode, command: string): Promise<string> {
  const { code, stdout, stderr } = await say(machine, command);
  if (code !== 0) throw new Error(`${command} exited with ${code}: ${stdout}${stderr}`);
  return stdout;
}

/** Until the text is in the output of a command that does not end by itself. */
async function watched(machine: TestNode, command: string, text: string): Promise<void> {
  const child = Bun.spawn([BINARY, ...words(command)], {
    ...{ cwd: machine.folder, env: surroundings(machine), stdout: "pipe", stderr: "ignore", stdin: "ignore" },
  });
  try {
    let seen = "";
    for await (const chunk of child.stdout) {
      seen += new TextDecoder().decode(chunk);
      if (seen.includes(text)) return;
    }
    throw new Error(`${command} ended without ${text}: ${seen}`);
  } finally {
    child.kill("SIGKILL");
    await child.exited;
  }
}

const shown = (machine: TestNode, sql: string): string =>
  JSON.stringify(machine.query(sql).flat().map(String));
const shows = (machine: TestNode, sql: string, rows: string[]): Promise<void> =>
  until(
    () => (shown(machine, sql) === JSON.stringify(rows) ? true : shown(machine, sql)),
    `${machine.name}: ${sql}`,
  );

beforeAll(async () => {
  cluster = new TestCluster(4, 1);
  machines = cluster.nodes;
  const ports = await freePorts(8);
  machines.forEach((machine, i) => {
    machine.port = ports[2 * i]!;
    machine.admin = ports[2 * i + 1]!;
  });
  mkdirSync(join(cluster.folder, "backups"));
  here.push(["/dns/node-1/tcp/8160", machines[0]!.address], ["/backups/", `${cluster.folder}/backups/`]);
  const app = new Database(machines[0]!.db, { create: true });
  app.exec(
    "CREATE TABLE notes(id INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT); INSERT INTO notes(text) VALUES('old')",
  );
  app.close();
});
afterAll(() => cluster.stop());

/** Starts it and waits until it is ready. */
async function started(machine: TestNode, command: string): Promise<void> {
  launch(machine, command);
  await machine.ready();
}

test("a newcomer: three nodes, a write crosses, a node is killed and returns, yesterday is restored", async () => {
  const [a, b, c] = machines as [TestNode, TestNode, TestNode];
  await started(a, FIRST);
  for (const machine of [b, c]) {
    cpSync(join(a.dataDir, "cluster.key"), join(machine.folder, "cluster.key"));
    await started(machine, NEXT);
    await shows(machine, "SELECT text FROM notes", ["old"]);
  }
  b.run("INSERT INTO notes(text) VALUES('crosses')");
  for (const machine of machines.slice(0, 3))
    await shows(machine, "SELECT text FROM notes", ["old", "crosses"]);

  const [backup] = ofReadme("marmot backup") as [string];
  expect(await done(a, backup)).toContain("2 rows");
  await c.kill();
  a.run("UPDATE notes SET text = 'wrong'");
  launch(c, NEXT);
  await c.ready();
  await shows(c, "SELECT text FROM notes", ["wrong", "wrong"]);

  const [diff] = ofReadme("marmot diff") as [string];
  expect(await done(a, diff)).toContain('update notes (id 1): text "old" => "wrong"');
  const [undo] = ofReadme("marmot undo") as [string];
  const asked = await say(a, undo);
  expect([asked.code, asked.stderr]).toEqual([1, expect.stringContaining("give --yes")]);
  const [restore] = ofReadme("marmot restore") as [string];
  expect(await done(a, `${restore} --yes`)).toContain("written; ordered at");
  for (const machine of machines.slice(0, 3))
    await shows(machine, "SELECT text FROM notes", ["old", "crosses"]);
  const [watch] = ofReadme("marmot status") as [string];
  await watched(a, watch, "app.db on node-1: ready · 3 of 3 voters in touch");
  expect((await a.http("/")).text).toContain("<!doctype html>");
}, 120_000);

test("ten questions", async () => {
  const [a, b, c, d] = machines as [TestNode, TestNode, TestNode, TestNode];
  const ask = async (question: string, at: TestNode = a): Promise<string> => done(at, answers(question)[0]!);
  expect(await ask("Is it healthy?")).toStartWith(
    "app.db on node-1: ready · 3 of 3 voters in touch · may lose 1",
  );
  expect(await ask("Which node leads?")).toMatch(/^[ *]node-\d +voter +leader/m);
  await watched(a, answers("Which node is behind?")[0]!, "BEHIND");

  await b.pause();
  a.run("UPDATE notes SET text = 'from a' WHERE id = 1");
  b.run("UPDATE notes SET text = 'from b' WHERE id = 1");
  b.signal("SIGCONT");
  const lost = answers("Which writes were lost, and how do they return?") as [string, string];
  let listed = "";
  await until(async () => /^\d+:\d+:\d+/m.test((listed = await done(a, lost[0]))), "a conflict is listed");
  here.push(["0:1234:0", /^\d+:\d+:\d+/m.exec(listed)![0]]);
  const [won] = a.query("SELECT text FROM notes WHERE id = 1").flat();
  expect(await done(a, lost[1])).toContain("restored");
  await shows(b, "SELECT text FROM notes WHERE id = 1", [won === "from a" ? "from b" : "from a"]);

  expect(await ask("How do I back up?")).toContain("integrity ok");
  expect(readdirSync(join(cluster.folder, "backups")).filter((name) => name.endsWith(".db"))).toHaveLength(2);
  expect(await ask("How do I change the key?")).toContain("all nodes use the same key alone");

  await b.kill("SIGTERM");
  launch(b, NEXT);
  expect(await ask("How do I upgrade?", b)).toContain("app.db on node-2: ready");

  await c.kill();
  expect(await ask("How do I remove a dead machine?")).toContain("node-3 is no member any more");
  const { members } = JSON.parse(await done(a, "marmot status --db app.db --json")) as NodeStatus;
  expect(members.map(({ name }) => name).sort()).toEqual(["node-1", "node-2"]);

  mkdirSync(d.dataDir);
  cpSync(join(a.dataDir, "cluster.key"), join(d.dataDir, "cluster.key"));
  await started(d, answers("How do I get a copy for reading?")[0]!);
  expect(() => d.run("INSERT INTO notes(text) VALUES('refused')")).toThrow("this node is a reader");

  const past = answers("What changed since yesterday, and how do I take it back?") as [string, string];
  expect(await done(a, past[0])).toMatch(/insert notes .* text "crosses"/);
  expect(await done(a, `${past[1]} --yes`)).toContain("taken back");
  for (const machine of [a, b, d]) await shows(machine, "SELECT text FROM notes", ["old"]);
}, 120_000);
