/** docs/safe-writes.md: each program runs on a cluster, and what it promises is read in the files. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { freePorts } from "../../src/cli/free-ports.ts";
import { TestCluster, type TestNode, until } from "../cluster/lab.ts";
import { fences, page } from "./markdown.ts";

const PAGE = page("docs/safe-writes.md");

interface Language {
  readonly name: string;
  readonly fence: string;
  readonly file: string;
  /** Programs that must be installed. */
  readonly needs: readonly string[];
  /** Makes the program, if it must be made. */
  readonly make?: readonly string[];
  readonly run: readonly string[];
}

const LANGUAGES: readonly Language[] = [
  { name: "Python", fence: "python", file: "recipe.py", needs: ["python3"], run: ["python3", "recipe.py"] },
  { name: "JavaScript", fence: "js", file: "recipe.mjs", needs: ["node"], run: ["node", "recipe.mjs"] },
  {
    ...{ name: "Go", fence: "go", file: "recipe.go", needs: ["go"], run: ["./recipe"] },
    make: ["go", "build", "-o", "recipe", "recipe.go"],
  },
  { name: "Ruby", fence: "ruby", file: "recipe.rb", needs: ["ruby"], run: ["ruby", "recipe.rb"] },
  { name: "PHP", fence: "php", file: "recipe.php", needs: ["php"], run: ["php", "recipe.php"] },
  {
    ...{ name: "Rust", fence: "rust", file: "recipe.rs", needs: ["rustc", "cc"], run: ["./recipe"] },
    make: ["rustc", "--edition", "2021", "-o", "recipe", "recipe.rs"],
  },
];

let cluster: TestCluster;
let row = 0;
beforeAll(async () => {
  const schema = "CREATE TABLE note(id TEXT PRIMARY KEY NOT NULL, body TEXT)";
  cluster = await TestCluster.start({ shards: 3, schema });
}, 120_000);
afterAll(() => cluster?.stop());

const url = (node: TestNode): string => `http://127.0.0.1:${node.admin}`;

async function run(words: readonly string[], cwd: string): Promise<string> {
  const child = Bun.spawn([...words], { cwd, stdout: "pipe", stderr: "pipe" });
  const [out, err] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
  ]);
  expect([await child.exited, err]).toEqual([0, ""]);
  return out.trim();
}

for (const { name, fence, file, needs, make, run: words } of LANGUAGES) {
  const missing = needs.filter((program) => Bun.which(program) === null);
  test.skipIf(missing.length > 0)(
    `${name}: the position of a write on one node, and a read of it on another`,
    async () => {
      const folder = join(cluster.folder, fence);
      mkdirSync(folder);
      writeFileSync(join(folder, file), fences(PAGE, fence)[0]!);
      if (make !== undefined) await run(make, folder);
      for (const [from, to] of [
        [0, 1],
        [2, 0],
      ] as const) {
        const id = `${name} ${row++}`;
        cluster.nodes[from]!.run(`INSERT INTO note VALUES('${id}', 'x')`);
        const position = await run([...words, url(cluster.nodes[from]!)], folder);
        expect(position).toMatch(/^c:\d+\.\d+\.\d+$/);
        await run([...words, url(cluster.nodes[to]!), position], folder);
        expect(cluster.nodes[to]!.query(`SELECT body FROM note WHERE id = '${id}'`)).toEqual([["x"]]);
      }
    },
    120_000,
  );
}

test.skipIf(Bun.which("python3") === null)(
  "the web application with a cookie: a user sees the own notes on every node",
  async () => {
    const program = join(cluster.folder, "server.py");
    writeFileSync(program, fences(PAGE, "python")[1]!);
    const ports = await freePorts(3);
    const servers = cluster.nodes.map((node, i) =>
      Bun.spawn(["python3", program, String(ports[i]), node.db, url(node)], { stderr: "inherit" }),
    );
    try {
      let cookie = "";
      const ask = async (at: number, body?: string): Promise<string> => {
        const headers: Record<string, string> = cookie === "" ? {} : { cookie };
        const method = body === undefined ? "GET" : "POST";
        const answer = await fetch(`http://127.0.0.1:${ports[at]}/`, {
          ...{ method, headers },
          ...(body === undefined ? {} : { body }),
        });
        expect(answer.status).toBe(200);
        cookie = answer.headers.get("set-cookie")!.split(";")[0]!;
        return answer.text();
      };
      for (const i of [0, 1, 2])
        await until(async () => {
          try {
            await ask(i);
            return true;
          } catch {
            return "it does not listen yet";
          }
        }, "the server answers");
      for (let i = 0; i < 30; i++) {
        await ask(i % 3, `note ${i}`);
        expect((await ask((i + 1) % 3)).split("\n")).toContain(`note ${i}`);
        expect((await ask((i + 2) % 3)).split("\n")).toContain(`note ${i}`);
      }
    } finally {
      for (const server of servers) server.kill();
    }
  },
  120_000,
);

test("a position of another cluster is refused, and one that is not reached is named", async () => {
  const [node] = cluster.nodes as [TestNode];
  const foreign = node.marmot("wait", "--position", "c:5", "--here");
  expect([foreign.code, foreign.stderr]).toEqual([
    1,
    "marmot: c:5 has 1 shards, but this cluster has 3: it is of another cluster\nhint: marmot wait --json prints a position of this one\n",
  ]);
  for (const here of [[], ["--here"]]) {
    const late = node.marmot("wait", "--position", "c:900000.1.1", "--timeout", "200ms", "--json", ...here);
    expect(late.code).toBe(1);
    expect(late.stderr).toContain("waiting for c:900000.1.1 to be ");
    expect((JSON.parse(late.stdout) as { done: boolean }).done).toBe(false);
  }
  const shown = node.query("SELECT value FROM __marmot__status WHERE item = 'node' AND name = 'position'");
  const position = String(shown[0]![0]);
  expect(node.marmot("wait", "--position", position, "--here", "--all").code).toBe(0);
  expect((await fetch(`${url(node)}/api/v1/status`)).headers.get("marmot-position")).toMatch(/^c:/);
});
