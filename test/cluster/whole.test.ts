/**
 * Whole transactions over sixteen shards, between real processes: no reader sees a part of one, also when nodes are
 * killed.
 */
import { afterEach, expect, test } from "bun:test";
import { Random } from "../../src/base/random.ts";
import { TestCluster, type TestNode, until } from "./lab.ts";

const SHARDS = 16;
const ACCOUNTS = 20;
const BALANCE = 1000;
/** The accounts of node i have the numbers i × 100 … i × 100 + 19: no node writes the accounts of another. */
const SCHEMA = `CREATE TABLE accounts(id INTEGER PRIMARY KEY, owner INT NOT NULL, balance INT NOT NULL);
  INSERT INTO accounts VALUES ${[0, 1, 2]
    .flatMap((owner) =>
      Array.from({ length: ACCOUNTS }, (_, i) => `(${owner * 100 + i}, ${owner}, ${BALANCE})`),
    )
    .join()}`;

let cluster: TestCluster | null = null;
const children: Bun.Subprocess[] = [];
afterEach(async () => {
  for (const child of children.splice(0)) {
    child.kill("SIGKILL");
    await child.exited;
  }
  await cluster?.stop();
  cluster = null;
});

/** An application's process: runs the script with `db` open until it is told to end by its standard input. */
function application(node: TestNode, script: string): Bun.Subprocess<"pipe", "pipe", "inherit"> {
  const source = `
    import { Database } from "bun:sqlite";
    const db = new Database(${JSON.stringify(node.db)});
    db.exec("PRAGMA busy_timeout = 20000");
    let ended = false;
    void (async () => { for await (const _ of Bun.stdin.stream()) break; ended = true; })();
    ${script}`;
  const child = Bun.spawn([process.execPath, "-e", source], {
    stdin: "pipe",
    stdout: "pipe",
    stderr: "inherit",
  });
  children.push(child);
  return child;
}

/** Reads the sums of all owners repeatedly; prints the first wrong sum, or the number of reads. */
const reader = (node: TestNode) =>
  application(
    node,
    `const sums = db.query("SELECT owner, sum(balance) FROM accounts GROUP BY owner ORDER BY owner");
     const right = JSON.stringify([[0, ${ACCOUNTS * BALANCE}], [1, ${ACCOUNTS * BALANCE}], [2, ${ACCOUNTS * BALANCE}]]);
     let looked = 0;
     while (!ended) {
       const seen = JSON.stringify(sums.values());
       if (seen !== right) { console.log("wrong: " + seen); process.exit(1); }
       looked++;
       await Bun.sleep(1);
     }
     console.log(String(looked));
     process.exit(0);`,
  );

/** Moves money between the node's accounts, two to four rows a transaction. */
const writer = (node: TestNode, owner: number, seed: number) =>
  application(
    node,
    `let state = ${seed};
     const below = (n) => (state = (state * 1103515245 + 12345) % 2147483648) % n;
     const move = db.query("UPDATE accounts SET balance = balance + ? WHERE id = ?");
     let moved = 0;
     while (!ended) {
       db.exec("BEGIN IMMEDIATE");
       for (let i = 1 + below(2); i > 0; i--) {
         const amount = 1 + below(9);
         move.run(-amount, ${owner} * 100 + below(${ACCOUNTS}));
         move.run(amount, ${owner} * 100 + below(${ACCOUNTS}));
       }
       db.exec("COMMIT");
       moved++;
       await Bun.sleep(below(4));
     }
     console.log(String(moved));
     process.exit(0);`,
  );

async function end(child: Bun.Subprocess<"pipe", "pipe", "inherit">): Promise<string> {
  void child.stdin.end();
  const text = await new Response(child.stdout).text();
  await child.exited;
  return text.trim();
}

test("while all nodes transfer money and one is killed, every reader sees the constant sums", async () => {
  const seed = Number(process.env.MARMOT_SEED ?? 1);
  const random = new Random(seed);
  cluster = await TestCluster.start({ shards: SHARDS, schema: SCHEMA });
  const { nodes } = cluster;
  expect((await nodes[0]!.status()).cluster.transactions).toBe("whole");
  const readers = nodes.map(reader);
  const writers = nodes.map((node, owner) => writer(node, owner, seed + owner));
  for (let round = 0; round < 3; round++) {
    const victim = nodes[round]!;
    await Bun.sleep(random.between(300, 900)); // how far it has come is chance; no check hangs on it
    await victim.kill();
    // Its application continues; so do the other nodes, whose shards it had led.
    await Bun.sleep(random.between(200, 600));
    await victim.start();
    await victim.ready();
  }
  const moved = (await Promise.all(writers.map(end))).map(Number);
  const settled = await cluster.settle();
  const looked = await Promise.all(readers.map(end));
  for (const text of looked)
    expect({ seed, text, wrong: text.startsWith("wrong") }).toMatchObject({ wrong: false });
  for (const n of [...moved, ...looked.map(Number)]) expect(n).toBeGreaterThan(20);
  expect(settled.accounts).toHaveLength(3 * ACCOUNTS);
  const { equal } = JSON.parse(nodes[1]!.marmot("verify", "--deep", "--json").stdout) as { equal: boolean };
  expect(equal).toBe(true);
  expect((await nodes[0]!.status()).conflicts.total).toBe(0);
}, 120_000);

test("a changeset over several shards is visible on no other node without a quorum, and whole with it", async () => {
  cluster = await TestCluster.start({ shards: SHARDS, schema: SCHEMA });
  const { nodes } = cluster;
  await nodes[1]!.kill();
  await nodes[2]!.kill();
  nodes[0]!.run("UPDATE accounts SET balance = balance + 1 WHERE owner = 0");
  expect(await nodes[0]!.wait({ timeout: "1s" })).toBe(false);
  await nodes[1]!.start();
  await until(
    () => {
      const [[low, high]] = nodes[1]!.query(
        "SELECT min(balance), max(balance) FROM accounts WHERE owner = 0",
      ) as [[bigint, bigint]];
      expect(low).toBe(high);
      return high === BigInt(BALANCE + 1);
    },
    "the changeset arrives",
    60_000,
  );
  await nodes[2]!.start();
  await nodes[2]!.ready();
  await cluster.settle();
}, 60_000);

test("a cluster that orders row by row does so after a restart", async () => {
  cluster = new TestCluster(1, 4);
  const [node] = cluster.nodes as [TestNode];
  node.run("PRAGMA journal_mode = WAL", SCHEMA);
  await node.start(["--transactions", "row"]);
  await node.ready();
  expect((await node.status()).cluster.transactions).toBe("row");
  expect(node.log()).toContain("a transaction can be seen in parts");
  await node.kill("SIGTERM");
  await node.start();
  await node.ready();
  expect((await node.status()).cluster.transactions).toBe("row");
});
