/** Verbs against a fake node behind a real control socket. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AdminServer } from "../../src/admin/server.ts";
import { UserError } from "../../src/base/errors.ts";
import { NodeClient } from "../../src/cli/client.ts";
import { COMPARED, CONFLICT, RESTORED, FakeNode, STATUS } from "../admin/fake-node.ts";
import type { NodeStatus } from "../../src/operations/api.ts";
import type { ChangeLine } from "../../src/operations/changes-api.ts";
import { marmot } from "./lab.ts";

let folder = "";
let db = "";
let node: FakeNode;
let server: AdminServer;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "marmot-verbs-"));
  db = join(folder, "app.db");
  mkdirSync(`${db}.marmot`);
});
const open = (): void => {
  server = AdminServer.open({ address: null, token: null, starting: () => "" });
  server.attach(node, `${db}.marmot/control.sock`);
};
beforeEach(() => {
  node = new FakeNode();
  open();
});
afterEach(() => server.stop());
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe("status", () => {
  test("the verdict first, then nodes, work and the things to do, within 80 columns", async () => {
    const { code, out } = await marmot(["status", "--db", db]);
    expect(code).toBe(0);
    const lines = out.split("\n");
    expect(lines[0]).toBe("app.db on n1: ready · 2 of 3 voters in touch · may lose 0");
    for (const line of [
      "catch-up: 50 of 200 entries (25 %), 2 s left",
      "*n1    voter           leads 1 of 2  0       -      0.1.0",
      " n2    silent learner                ?       never",
      "pending 5 changes, the oldest 2.5 s old",
      "conflicts 1 open of 1",
      "not compared since the start",
      "tables 1 replicate, 1 do not",
      "skipped search: it is a virtual table",
    ])
      expect(lines).toContain(line);
    expect(lines.at(-1)).toBe("nothing to do");
    for (const line of lines) expect([line, Bun.stringWidth(line) <= 80]).toEqual([line, true]);
  });
  test("the findings end it, each with a command for the node as the caller names it", async () => {
    const verdict: NodeStatus["verdict"] = {
      level: "warn",
      text: "app.db on n1: ready · 2 of 3 voters in touch · may lose 0 · pending 0 · 12 conflicts open (marmot conflicts)",
      findings: [
        {
          level: "warn",
          text: "2 of 3 voters are in touch: no further machine may fail",
          advice:
            "n2 has not answered for 12 min. Writes go on. marmot status on its machine says why; if that is gone for good",
          command: "marmot members remove n2 --db /srv/app.db",
        },
      ],
    };
    node.shown = { ...STATUS, verdict };
    const { out } = await marmot(["status", "--db", db]);
    expect(out.split("\n").slice(0, 2)).toEqual([
      "app.db on n1: ready · 2 of 3 voters in touch · may lose 0 · pending 0",
      "  12 conflicts open (marmot conflicts)",
    ]);
    expect(out.split("\n").at(-1)).toBe(`    marmot members remove n2 --db ${db}`);
  });
  test("--wide adds addresses, ids, shards and settings", async () => {
    const { out } = await marmot(["status", "--db", db, "--wide"]);
    for (const part of [
      "/ip4/127.0.0.1/tcp/8160  12D3KooWone",
      "0      leader    n1      4     17      16       5",
      "1      follower  none    2     9       9        0",
      "cluster c0ffee, 2 shards, transactions row, schema 3, key 0123456789abcdef",
    ])
      expect(out).toContain(part);
  });
  test("--wait-ready returns when the node is ready, and 1 when the time runs out", async () => {
    const unready = { ...STATUS, node: { ...STATUS.node, ready: false, waitingFor: "importing" } };
    node.shown = unready;
    const late = await marmot(["status", "--db", db, "--wait-ready", "150ms"]);
    expect([late.code, late.err]).toEqual([1, "not ready within 150ms: importing"]);
    await server.stop();
    const waiting = marmot(["status", "--db", db, "--wait-ready", "60s"]);
    open();
    setTimeout(() => (node.shown = STATUS), 50);
    expect((await waiting).code).toBe(0);
  });
  test("as one JSON document, found by the data directory, too", async () => {
    const { out } = await marmot(["status", "--data-dir", `${db}.marmot`, "--json"]);
    expect(JSON.parse(out)).toEqual(JSON.parse(JSON.stringify(STATUS)));
  });
  test("exit code 1 when the node is not ready, with the same output", async () => {
    node.shown = { ...STATUS, node: { ...STATUS.node, ready: false, waitingFor: "no leader of shard 1" } };
    const { code, out, err } = await marmot(["status", "--db", db]);
    expect([code, err]).toEqual([1, ""]);
    expect(out).toStartWith("app.db on n1: ");
    expect((await marmot(["status", "--db", db, "--json"])).code).toBe(1);
  });
  test("--watch runs until it is interrupted, with exit code 0", async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    const watching = marmot(["status", "--db", db, "--watch", "--json"], { interrupted: promise });
    resolve();
    expect(await watching).toMatchObject({ code: 0, err: "" });
  });
  test("--watch survives a restart of the node: it says so and shows the node again", async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    const lines: string[] = [];
    const watching = marmot(["status", "--db", db, "--watch", "--json"], {
      interrupted: promise,
      onPrint: () => void lines.push("shown"),
      onSay: (text) => void lines.push(text),
    });
    const until = async (last: RegExp, count: number): Promise<void> => {
      while (lines.length < count || !last.test(lines.at(-1)!)) await Bun.sleep(10);
    };
    await until(/shown/, 1);
    await server.stop();
    await until(/no node runs here.*; trying again$/, 2);
    open();
    await until(/shown/, 3);
    resolve();
    expect((await watching).code).toBe(0);
  });
  test("--watch of a node that does not run is a failure", async () => {
    const { code, err } = await marmot(["status", "--db", join(folder, "other.db"), "--watch"]);
    expect([code, err.includes("no node runs here")]).toEqual([1, true]);
  });
});

describe("wait", () => {
  test("passes its options on", async () => {
    expect(await marmot(["wait", "--db", db])).toEqual({ code: 0, out: "", err: "" });
    expect((await marmot(["wait", "--db", db, "--all", "--timeout", "2m"])).code).toBe(0);
    expect((await marmot(["wait", "--db", db, "--position", "c:1.2"])).code).toBe(0);
    expect((await marmot(["wait", "--db", db, "--position", "c:1.2", "--here"])).code).toBe(0);
    expect(node.calls.map((c) => c.options)).toEqual([
      { all: false, timeoutMs: 10_000, position: null, here: true },
      { all: true, timeoutMs: 120_000, position: null, here: true },
      { all: false, timeoutMs: 10_000, position: "c:1.2", here: false },
      { all: false, timeoutMs: 10_000, position: "c:1.2", here: true },
    ]);
    for (const wrong of [["--here"], ["--position", "812"]])
      expect((await marmot(["wait", "--db", db, ...wrong])).code).toBe(2);
  });
  test("exit code 1 when the time runs out, with the missing step", async () => {
    node.waits = () =>
      Promise.resolve({ done: false, missing: "3 changes to be ordered by a quorum", position: "c:17.9" });
    const { code, out, err } = await marmot(["wait", "--db", db, "--timeout", "1500ms", "--json"]);
    expect(code).toBe(1);
    expect(JSON.parse(out)).toEqual({
      done: false,
      missing: "3 changes to be ordered by a quorum",
      position: "c:17.9",
    });
    expect(err).toBe("not done within 1500ms: waiting for 3 changes to be ordered by a quorum");
  });
});

test("the example in the refusal of a timeout is itself accepted", async () => {
  for (const verb of ["wait", "verify"]) {
    const refused = await marmot([verb, "--db", db, "--timeout", "5"]);
    expect(refused.code).toBe(2);
    const example = /for example --timeout (\S+);/.exec(refused.err)![1]!;
    expect((await marmot([verb, "--db", db, "--timeout", example])).code).toBe(0);
  }
});

test("wait and verify get an answer that takes 30 s over the control socket", async () => {
  const slowly = async <T>(answer: () => Promise<T>): Promise<T> => {
    await Bun.sleep(30_000);
    return answer();
  };
  const { waits, verifies } = node;
  node.waits = () => slowly(waits);
  node.verifies = () => slowly(verifies);
  const [wait, verify] = await Promise.all([
    marmot(["wait", "--db", db, "--timeout", "40s"]),
    marmot(["verify", "--db", db, "--timeout", "40s"]),
  ]);
  expect([wait.code, wait.err, verify.code, verify.err]).toEqual([0, "", 0, ""]);
}, 60_000);

test("a node that stops while it is asked is named, without words of the runtime", async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  node.waits = () => {
    resolve();
    return new Promise(() => {});
  };
  const waiting = marmot(["wait", "--db", db]);
  await promise;
  await server.stop();
  const { code, err } = await waiting;
  expect(code).toBe(1);
  expect(err).toStartWith(`marmot: the node at ${db}.marmot/control.sock closed the connection`);
  expect(err).not.toMatch(/ECONN|fetch|verbose/);
});

describe("verify", () => {
  test("equal", async () => {
    expect(await marmot(["verify", "--db", db, "--deep", "--timeout", "3s"])).toEqual({
      code: 0,
      out: "equal: replicas of n1, n2 at 17, 9; 3 rows compared",
      err: "",
    });
    expect(node.calls).toEqual([
      { name: "verify", options: { deep: true, repair: false, publish: null, timeoutMs: 3000 } },
    ]);
  });
  test("different: each difference by table and key, and exit code 1", async () => {
    const difference = {
      kind: "file" as const,
      node: "n1",
      table: "books",
      key: "7",
      detail: "only in the file",
    };
    node.verifies = () =>
      Promise.resolve({
        ...COMPARED,
        ...{
          equal: false,
          complete: false,
          positions: [1],
          nodes: ["n1"],
          rows: 9,
          differences: [difference],
        },
        ...{ missing: ["n2"], notCompared: [{ node: "n2", reason: "no answer" }] },
      });
    const { code, out, err } = await marmot(["verify", "--db", db]);
    expect(code).toBe(1);
    expect(out).toContain("file  n1    books  7    only in the file");
    expect(out).toContain("DIFFERENT: replicas of n1 at 1; 9 rows compared");
    expect(err).toContain("not compared: n2 (no answer)");
    expect(err).toContain(`marmot verify --db ${db} --publish sends the rows of this file`);
  });
  test("equal, but a voter did not answer: exit code 1", async () => {
    node.verifies = () =>
      Promise.resolve({
        ...COMPARED,
        ...{ complete: false, missing: ["n3"], notCompared: [{ node: "n3", reason: "no answer" }] },
      });
    const { code, out, err } = await marmot(["verify", "--db", db]);
    expect([code, err]).toEqual([1, "not compared: n3 (no answer)"]);
    expect(out).toContain("equal, but NOT ALL VOTERS answered");
  });
  test("the table of --publish is a word beside the options", async () => {
    expect((await marmot(["verify", "--db", db, "--publish", "books"])).code).toBe(0);
    expect(node.calls.at(-1)!.options).toMatchObject({ publish: { table: "books" } });
    expect((await marmot(["verify", "--db", db, "books"])).code).toBe(2);
    expect((await marmot(["verify", "--db", db, "--publish", "--repair"])).code).toBe(2);
  });
});

describe("conflicts", () => {
  test("list", async () => {
    const { out } = await marmot(["conflicts", "list", "--db", db, "--limit", "7"]);
    expect(out).toContain("0:12:1  2023-11-14T22:13:20.000Z  books  7    concurrent write  n1    n2   open");
    const none = { table: null, since: null, origin: null, open: false };
    expect(node.calls).toEqual([{ name: "conflicts", options: { ...none, limit: 7 } }]);
    const chosen = ["--table", "my books", "--since", "2 hours ago", "--origin", "n1", "--open"];
    expect((await marmot(["conflicts", "--db", db, ...chosen])).out).toBe(
      (await marmot(["conflicts", "list", "--db", db])).out,
    );
    expect(node.calls[1]!.options).toEqual({
      ...{ table: "my books", since: "2 hours ago", origin: "n1", open: true, limit: 100 },
    });
    node.found = [];
    expect((await marmot(["conflicts", "list", "--db", db])).out).toBe("no conflicts");
    expect((await marmot(["conflicts", "list", "--db", db, "--json"])).out).toBe("[]");
  });
  test("show: both images", async () => {
    const { out } = await marmot(["conflicts", "show", "0:12:1", "--db", db]);
    expect(out).toContain('title   "Emma"   (deleted)');
    expect(out).toContain("cover   x'00ff'  (deleted)");
    expect(JSON.parse((await marmot(["conflicts", "show", "0:12:1", "--db", db, "--json"])).out)).toEqual(
      JSON.parse(JSON.stringify(CONFLICT)),
    );
    const none = await marmot(["conflicts", "show", "9:9:9", "--db", db]);
    expect([none.code, none.err]).toEqual([
      1,
      "marmot: there is no conflict 9:9:9\nhint: marmot conflicts list shows those that are kept",
    ]);
  });
});

describe("conflicts dismiss and restore of a table", () => {
  test("dismiss: one, or those that the options choose", async () => {
    expect((await marmot(["conflicts", "dismiss", "0:12:1", "--db", db])).out).toBe("1 dismissed\n0:12:1");
    expect((await marmot(["conflicts", "dismiss", "9:9:9", "--db", db])).code).toBe(1);
    expect((await marmot(["conflicts", "dismiss", "--all", "--table", "books", "--db", db])).code).toBe(0);
    const filter = { table: "books", since: null, origin: null, open: true };
    expect(node.calls.map((c) => c.options)).toEqual(["0:12:1", "9:9:9", filter]);
  });
  test("restore: the rows of one node, exit code 1 if one is left", async () => {
    const { code, out } = await marmot([
      ...["conflicts", "restore", "--table", "books", "--from", "n1", "--dry-run", "--db", db],
    ]);
    expect([code, out.split("\n")]).toEqual([
      1,
      [
        "conflict 0:12:1: restored, books 7",
        "conflict 0:9:0: left as it is, books 8: it was written again",
        "1 would be restored; nothing is written, 1 left",
      ],
    ]);
    expect(node.calls.map((c) => c.options)).toEqual([
      { table: "books", from: "n1", overwrite: false, dryRun: true },
    ]);
  });
  test("an id and all, neither, or options of another action are wrong usage", async () => {
    for (const argv of [
      ...[["dismiss"], ["dismiss", "0:1:0", "--all"], ["dismiss", "0:1:0", "--open"]],
      ...[
        ["restore", "--table", "books"],
        ["restore", "0:1:0", "--from", "n1"],
        ["list", "--all"],
      ],
      ...[["list", "0:1:0"], ["restore", "--table", "t", "--from", "n", "--as-new"], ["show"], ["drop"]],
    ])
      expect([argv, (await marmot(["conflicts", ...argv, "--db", db])).code]).toEqual([argv, 2]);
    expect(node.calls).toEqual([]);
  });
});

describe("changes, diff and undo", () => {
  const event = JSON.stringify({
    ...{ kind: "transaction", position: "c:7", last: true, entry: "0:7", time: "T", origin: "n1", peer: "p" },
    changes: [
      { table: "books", op: "update", key: { id: 7 }, before: { id: 7, t: "a" }, after: { id: 7, t: "b" } },
      { table: "books", op: "delete", key: { id: 8 }, before: { id: 8, t: { blob: "00" } }, after: null },
    ],
  });
  const lines = (...all: [ChangeLine["kind"], string][]): ChangeLine[] =>
    all.map(([kind, json]) => ({ kind, json, last: true, position: "c:7" }));
  test("changes prints events until the feed ends, without signs of life", async () => {
    node.lines = lines(["transaction", event], ["alive", '{"kind":"alive"}']);
    expect(await marmot(["changes", "--since", "c:3", "--tables", "books", "--db", db])).toEqual({
      ...{ code: 0, out: event, err: "" },
    });
    expect(node.calls[0]!.options).toEqual({ since: "c:3", tables: ["books"], follow: false });
    node.lines = lines(["end", '{"kind":"end","reason":"too slow"}']);
    const { code, err } = await marmot(["changes", "--follow", "--db", db]);
    expect([code, err.split("\n")[0]]).toEqual([1, "marmot: too slow"]);
    expect((await marmot(["changes", "--db", db])).code).toBe(2);
  });
  test("diff prints a line for each row, and all as one JSON document", async () => {
    node.lines = lines(["transaction", event]);
    const { out } = await marmot(["diff", "--since", "1h", "--db", db]);
    expect(out.split("\n")).toEqual([
      'c:7  T  n1  update books (id 7): t "a" => "b"',
      "c:7  T  n1  delete books (id 8): id 8, t x'00'",
    ]);
    const json = JSON.parse((await marmot(["diff", "--since", "1h", "--json", "--db", db])).out) as object[];
    expect(json.length).toBe(2);
    expect(json[0]).toMatchObject({ position: "c:7", entry: "0:7", op: "update", before: { t: "a" } });
    expect((await marmot(["diff", "--db", db])).code).toBe(2);
  });
  test("undo shows its plan first, and writes only when it is told to", async () => {
    const plan = await marmot(["undo", "--since", "1m", "--dry-run", "--db", db]);
    expect([plan.code, plan.out.split("\n")]).toEqual([
      0,
      [
        "1 transaction: 1 row to take back",
        "  books: 1 row",
        "books 7: changed back",
        "left as it is: books 8: it was changed since",
        "--force also takes back rows that were changed since or to which others refer",
      ],
    ]);
    const asked = await marmot(["undo", "--since", "1m", "--db", db]);
    expect([asked.code, asked.err]).toEqual([1, expect.stringContaining("give --yes")]);
    const done = await marmot(["undo", "--position", "c:7", "--force", "--yes", "--json", "--db", db]);
    expect(JSON.parse(done.out)).toMatchObject({ dryRun: false, position: "c:17.9" });
    expect(
      node.calls.filter((c) => c.name === "undo").map((c) => (c.options as { dryRun: boolean }).dryRun),
    ).toEqual([...[true, true, false]]);
    for (const argv of [[], ["--since", "1m", "--position", "c:1"]])
      expect((await marmot(["undo", ...argv, "--db", db])).code).toBe(2);
  });
});

describe("members", () => {
  test("list, as a table and as JSON", async () => {
    const { code, out } = await marmot(["members", "list", "--db", db]);
    expect(code).toBe(0);
    expect(out).toContain("n2    learner  no");
    const json = await marmot(["members", "list", "--db", db, "--json"]);
    expect(JSON.parse(json.out)).toEqual(JSON.parse(JSON.stringify(STATUS.members)));
  });
  test("an action is sent to the node, and its end is shown", async () => {
    const { code, out } = await marmot(["members", "rename", "n2", "a name", "--db", db]);
    expect([code, out]).toEqual([0, "n2 has the name a name now"]);
    expect((await marmot(["members", "remove", "n2", "--db", db])).code).toBe(0);
    expect(node.calls).toEqual([
      { name: "rename", options: { name: "n2", to: "a name" } },
      { name: "remove", options: { name: "n2" } },
    ]);
  });
  test("recover shows the effects, and needs an answer or --yes", async () => {
    const recover = (...more: string[]) => marmot(["members", "recover", "--db", db, ...more]);
    const asked = await recover();
    expect(asked.code).toBe(1);
    expect(asked.out).toContain(
      "n1 becomes the only voter, in epoch 1 of the cluster; n2 is no member any more",
    );
    expect(asked.out).toContain("all after entry 17 of shard 0, 9 of shard 1");
    expect(asked.err).toContain("give --yes");
    expect(node.calls.map(({ options }) => options)).toEqual([{ plan: true }]);
    const answered = await marmot(["members", "recover", "--db", db], { answer: "yes" });
    expect([answered.code, node.calls.length]).toEqual([0, 3]);
    expect((await marmot(["members", "recover", "--db", db], { answer: "no" })).code).toBe(1);
    const done = await recover("--yes", "--json");
    expect(JSON.parse(done.out)).toMatchObject({ done: true, node: "n1", epoch: 1, leaves: ["n2"] });
  });
  test("a refusal is an error with a hint", async () => {
    const { code, err } = await marmot(["members", "demote", "nobody", "--db", db]);
    expect([code, err]).toEqual([1, "marmot: there is no member nobody\nhint: the members are n1, n2"]);
  });
  test("missing and unknown words are wrong usage", async () => {
    for (const words of [["remove"], ["rename", "n1"], ["list", "n1"], ["eject", "n1"]])
      expect((await marmot(["members", ...words, "--db", db])).code).toBe(2);
    expect(node.calls).toEqual([]);
  });
});

describe("conflicts restore", () => {
  test("reports restored, moved and unchanged rows", async () => {
    const { code, out } = await marmot(["conflicts", "restore", "0:12:1", "--as-new", "--db", db]);
    expect([code, out.split("\n")]).toEqual([
      0,
      [
        "conflict 0:12:1: restored as new, books 64",
        "moved with it: pages 3",
        "restored with it: pages 4, now 70",
        "left as it is: pages 5: it is written right now",
      ],
    ]);
    expect(node.calls.at(-1)).toEqual({
      name: "restore",
      options: { id: "0:12:1", asNew: true, overwrite: false },
    });
    const json = await marmot(["conflicts", "restore", "0:12:1", "--db", db, "--json"]);
    expect(JSON.parse(json.out)).toEqual(JSON.parse(JSON.stringify(RESTORED)));
  });
  test("an unknown id is a failure, and other actions refuse its options", async () => {
    expect((await marmot(["conflicts", "restore", "9:9:9", "--db", db])).code).toBe(1);
    for (const argv of [["restore"], ["list", "--as-new"], ["show", "0:12:1", "--overwrite"]])
      expect([argv, (await marmot(["conflicts", ...argv, "--db", db])).code]).toEqual([argv, 2]);
  });
});

test("the refusal of a node is shown with its hint", async () => {
  node.waits = () => Promise.reject(new UserError("it cannot", "do this"));
  expect(await marmot(["wait", "--db", db])).toMatchObject({
    code: 1,
    err: "marmot: it cannot\nhint: do this",
  });
});

test("no node: exit code 1 and how to start one, whether the socket is missing or dead", async () => {
  for (const argv of [["status"], ["wait"], ["verify"], ["conflicts", "list"]]) {
    const { code, err } = await marmot([...argv, "--db", join(folder, "other.db")]);
    expect([argv, code]).toEqual([argv, 1]);
    expect(err).toContain("no node runs here");
    expect(err).toContain("marmot run");
  }
  expect(await new NodeClient(join(folder, "other.db.marmot")).answers(100)).toBe(false);
});

describe("key", () => {
  const PATTERN = /^marmot-cluster-key-1:[A-Za-z0-9+/]{43}=$/;
  test("generate, to standard output or into a file that only its owner reads", async () => {
    expect((await marmot(["key", "generate"])).out).toMatch(PATTERN);
    const path = join(folder, "c.key");
    expect((await marmot(["key", "generate", "--cluster-key", path])).code).toBe(0);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(await Bun.file(path).text()).toMatch(/^marmot-cluster-key-1:\S{44}\n$/);
    const again = await marmot(["key", "generate", "--cluster-key", path]);
    expect(again.code).toBe(1);
    expect(again.err).toContain("never overwritten");
  });
  test("generate into a folder that does not exist: the path and a hint, no stack", async () => {
    const path = join(folder, "missing", "a.key");
    expect(await marmot(["key", "generate", "--cluster-key", path])).toEqual({
      code: 1,
      out: "",
      err: `marmot: ${path} cannot be written: the folder ${join(folder, "missing")} does not exist\nhint: mkdir -p ${join(folder, "missing")}`,
    });
  });
  test("a key in the environment is no path to write to", async () => {
    const { out } = await marmot(["key", "generate"]);
    const other = await marmot(["key", "generate"], { environment: { MARMOT_CLUSTER_KEY: out } });
    expect(other.out).toMatch(PATTERN);
    expect(other.out).not.toBe(out);
  });
  test("show: from a file, the environment, the data directory; a broken one is refused", async () => {
    const { out: key } = await marmot(["key", "generate"]);
    const files = { "k.key": `${key}\n`, "bad.key": "marmot-cluster-key-1:AAAA\n" };
    expect((await marmot(["key", "show", "--cluster-key", "k.key"], { files })).out).toBe(key);
    expect((await marmot(["key", "show"], { environment: { MARMOT_CLUSTER_KEY: key } })).out).toBe(key);
    const kept = { [`${db}.marmot/cluster.key`]: `${key}\n` };
    expect((await marmot(["key", "show", "--db", db], { files: kept })).out).toBe(key);
    const bad = await marmot(["key", "show", "--cluster-key", "bad.key"], { files });
    expect([bad.code, bad.out]).toEqual([1, ""]);
    expect(bad.err).toContain("bad.key: line 1");
  });
  test("id of a node that never ran", async () => {
    expect((await marmot(["key", "id", "--db", join(folder, "other.db")])).err).toContain(
      "when a node first starts",
    );
  });
});
