/** The admin API over real sockets, in front of a fake node. */
import type { ChangeLine } from "../../src/operations/changes-api.ts";
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect } from "node:net";
import { AdminServer } from "../../src/admin/server.ts";
import { UserError } from "../../src/base/errors.ts";
import type { VerifyResult, WaitResult } from "../../src/operations/api.ts";
import { COMPARED, FakeNode, STATUS, RESTORED, UNDONE } from "./fake-node.ts";

let folder = "";
let server: AdminServer;
let node: FakeNode;
const LOOPBACK = { host: "127.0.0.1", port: 0 };
const starting = (): string => "import: 5 of 10 rows";
const socket = (): string => join(folder, "control.sock");

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "marmot-admin-"));
  node = new FakeNode();
  server = AdminServer.open({ address: LOOPBACK, token: null, starting });
});
afterEach(async () => {
  await server.stop();
  rmSync(folder, { recursive: true, force: true });
});

const get = (path: string, init: RequestInit = {}): Promise<Response> => fetch(`${server.url}${path}`, init);
const post = (path: string): Promise<Response> => get(path, { method: "POST" });
const control = (path: string, method = "GET"): Promise<Response> =>
  fetch(`http://localhost/${path}`, { method, unix: socket() });

/** Sends a request that fetch would not send. Returns the status line. */
function raw(lines: readonly string[]): Promise<string> {
  const { port } = new URL(server.url!);
  return new Promise((resolve, reject) => {
    let answer = "";
    const client = connect(Number(port), "127.0.0.1", () =>
      client.write(`${[...lines, "Connection: close"].join("\r\n")}\r\n\r\n`),
    );
    client.on("data", (chunk) => (answer += chunk.toString()));
    client.on("end", () => resolve(answer.split("\r\n")[0]!));
    client.on("error", reject);
  });
}

test("before the node has started: alive, not ready, and the work under way as the reason", async () => {
  expect((await get("healthz")).status).toBe(200);
  const ready = await get("readyz");
  expect([ready.status, await ready.text()]).toEqual([503, "import: 5 of 10 rows\n"]);
  const status = await get("api/v1/status");
  expect(status.status).toBe(503);
  expect(await status.json()).toEqual({
    error: "this node has not started yet: import: 5 of 10 rows",
    hint: "ask again in a moment",
  });
  server.attach(node, socket());
  expect((await get("readyz")).status).toBe(200);
  node.reason = "no leader of shard 1";
  const not = await get("readyz");
  expect([not.status, await not.text()]).toEqual([503, "no leader of shard 1\n"]);
});

test("status, members, metrics and the page", async () => {
  server.attach(node, socket());
  expect(await (await get("api/v1/status")).json()).toEqual(JSON.parse(JSON.stringify(STATUS)));
  expect(await (await get("api/v1/members")).json()).toEqual(JSON.parse(JSON.stringify(STATUS.members)));
  const metrics = await get("metrics");
  expect(metrics.headers.get("content-type")).toContain("version=0.0.4");
  expect(await metrics.text()).toBe(
    [
      "# HELP marmot_ready 1 when ready",
      "# TYPE marmot_ready gauge",
      "marmot_ready 1",
      "# HELP marmot_term Raft term",
      "# TYPE marmot_term gauge",
      'marmot_term{shard="0",odd="a\\"b\\\\c\\nd"} 4',
      "",
    ].join("\n"),
  );
  const page = await get("");
  expect(page.headers.get("content-security-policy")).toContain("default-src 'none'");
  expect(await page.text()).toContain("<title>Marmot</title>");
  const head = await get("healthz", { method: "HEAD" });
  expect([head.status, await head.text()]).toEqual([200, ""]);
});

test("the control socket: same answers, mode 0600, replaces an old socket, removed by stop", async () => {
  writeFileSync(socket(), "a socket left by a crash");
  server.attach(node, socket());
  expect(statSync(socket()).mode & 0o777).toBe(0o600);
  expect(await (await control("api/v1/status")).json()).toEqual(JSON.parse(JSON.stringify(STATUS)));
  await server.stop();
  expect(existsSync(socket())).toBe(false);
});

test("wait passes its parameters on, and answers 504 when the time runs out", async () => {
  server.attach(node, socket());
  expect((await post("api/v1/wait?timeout=2.5s&all=true")).status).toBe(200);
  expect((await control("api/v1/wait", "POST")).status).toBe(200);
  expect(node.calls.map((c) => c.options)).toEqual([
    { all: true, timeoutMs: 2500, position: null, here: true },
    { all: false, timeoutMs: 10_000, position: null, here: true },
  ]);
  node.waits = () => Promise.resolve({ done: false, missing: "a quorum", position: "c:17.9" });
  const late = await post("api/v1/wait?timeout=1ms");
  expect([late.status, await late.json()]).toEqual([
    504,
    { done: false, missing: "a quorum", position: "c:17.9" },
  ]);
});

test("wait for a position, and the header that names one", async () => {
  server.attach(node, socket());
  const answer = await post("api/v1/wait?position=c:17.9&here=false");
  expect(node.calls.at(-1)?.options).toEqual({
    all: false,
    timeoutMs: 10_000,
    position: "c:17.9",
    here: false,
  });
  expect(answer.headers.get("marmot-position")).toBe("c:17.9");
  expect((await get("api/v1/status")).headers.get("marmot-position")).toBe("c:16.9");
  for (const wrong of ["17", "c:", "c:1.", "c:x", "c:-1", "c:1,2", "c:99999999999999999"])
    expect([wrong, (await post(`api/v1/wait?position=${wrong}`)).status]).toEqual([wrong, 400]);
});

test("events pass limit and the last known id on", async () => {
  server.attach(node, socket());
  node.happened = [
    { id: 7, time: 1, level: "warn", kind: "peer", message: "n3 is silent", fields: { peer: "n3" } },
  ];
  expect(await (await get("api/v1/events?limit=5&after=6")).json()).toEqual(
    JSON.parse(JSON.stringify(node.happened)),
  );
  await get("api/v1/events");
  expect(node.calls.map((c) => c.options)).toEqual([
    { limit: 5, after: 6 },
    { limit: 200, after: 0 },
  ]);
  expect((await get("api/v1/events?after=last")).status).toBe(400);
});

test("a bad query parameter is refused with a hint", async () => {
  server.attach(node, socket());
  for (const path of ["wait?timeout=soon", "wait?timeout=-1s", "wait?all=perhaps", "verify?deep=yes"]) {
    const answer = await post(`api/v1/${path}`);
    expect([path, answer.status]).toEqual([path, 400]);
    expect(Object.keys((await answer.json()) as object)).toEqual(["error", "hint"]);
  }
  for (const limit of ["0", "10001", "1.5", "many"])
    expect((await get(`api/v1/conflicts?limit=${limit}`)).status).toBe(400);
  expect(node.calls).toEqual([]);
});

test("conflicts: listed, one by id, and none of that id", async () => {
  server.attach(node, socket());
  expect(((await (await get("api/v1/conflicts?limit=5")).json()) as unknown[]).length).toBe(1);
  expect(((await (await get("api/v1/conflicts/0%3A12%3A1")).json()) as { table: string }).table).toBe(
    "books",
  );
  expect((await get("api/v1/conflicts/0:0:0")).status).toBe(404);
  expect((await get("api/v1/conflicts/%ff")).status).toBe(404);
});

test("GET changes no state: 405; an unknown path: 404", async () => {
  server.attach(node, socket());
  const wait = await get("api/v1/wait");
  expect([wait.status, wait.headers.get("allow")]).toEqual([405, "POST"]);
  expect((await post("api/v1/status")).status).toBe(405);
  expect((await post("api/v1/conflicts/0:12:1")).status).toBe(405);
  expect((await get("api/v2/status")).status).toBe(404);
  expect((await get("constructor")).status).toBe(404);
  for (const response of [wait, await get("api/v1/nope")])
    expect(await response.json()).toEqual({ error: expect.any(String), hint: expect.any(String) });
  expect(node.calls).toEqual([]);
});

test("members are changed by POST, by their names", async () => {
  server.attach(node, socket());
  expect((await post("api/v1/members/a%20b/promote")).status).toBe(200);
  expect((await post("api/v1/members/n1/rename?to=n9")).status).toBe(200);
  expect(node.calls).toEqual([
    { name: "promote", options: { name: "a b" } },
    { name: "rename", options: { name: "n1", to: "n9" } },
  ]);
  expect((await post("api/v1/members/nobody/remove")).status).toBe(400);
  expect((await post("api/v1/members/n1/rename?to=%20")).status).toBe(400);
  expect((await get("api/v1/members/n1/remove")).status).toBe(404);
});

test("a conflict is restored by POST, with the parameters of the call", async () => {
  server.attach(node, socket());
  const done = await post("api/v1/conflicts/0%3A12%3A1/restore?asNew=true");
  expect([done.status, await done.json()]).toEqual([200, JSON.parse(JSON.stringify(RESTORED))]);
  expect(node.calls).toEqual([{ name: "restore", options: { id: "0:12:1", asNew: true, overwrite: false } }]);
  expect((await post("api/v1/conflicts/9:9:9/restore")).status).toBe(404);
  expect((await post("api/v1/conflicts/0:12:1/restore?asNew=maybe")).status).toBe(400);
  expect((await get("api/v1/conflicts/0:12:1/restore")).status).toBe(404);
});

test("URLs over 4 KB and bodies over 64 KB are refused", async () => {
  server.attach(node, socket());
  expect((await get(`healthz?${"x".repeat(5000)}`)).status).toBe(414);
  const large = await get("api/v1/wait", { method: "POST", body: "x".repeat(100_000) });
  expect(large.status).toBe(413);
});

test("a 65th concurrent wait and a second verify are refused", async () => {
  server.attach(node, socket());
  const { promise, resolve } = Promise.withResolvers<WaitResult>();
  node.waits = () => promise;
  const waiting = Array.from({ length: 64 }, () => post("api/v1/wait"));
  while (node.calls.length < 64) await Bun.sleep(5);
  expect((await post("api/v1/wait")).status).toBe(503);
  resolve({ done: true, missing: "", position: "c:17.9" });
  expect(new Set((await Promise.all(waiting)).map((r) => r.status))).toEqual(new Set([200]));
  expect((await post("api/v1/wait")).status).toBe(200);

  const compared = Promise.withResolvers<VerifyResult>();
  node.verifies = () => compared.promise;
  const first = post("api/v1/verify?deep=true&timeout=3s");
  while (!node.calls.some((c) => c.name === "verify")) await Bun.sleep(5);
  expect((await post("api/v1/verify")).status).toBe(503);
  compared.resolve(COMPARED);
  expect((await first).status).toBe(200);
  expect(node.calls.at(-1)).toEqual({
    name: "verify",
    options: { deep: true, repair: false, publish: null, timeoutMs: 3000 },
  });
  node.verifies = () => Promise.resolve(COMPARED);
  expect((await post("api/v1/verify?publish=true&table=t")).status).toBe(200);
  expect(node.calls.at(-1)!.options).toMatchObject({ publish: { table: "t" } });
  expect((await post("api/v1/verify?publish=true&repair=true")).status).toBe(400);
});

test("an error of the node becomes an answer, and the next request is served", async () => {
  server.attach(node, socket());
  node.waits = () => Promise.reject(new UserError("it cannot", "do this"));
  expect(await (await post("api/v1/wait")).json()).toEqual({ error: "it cannot", hint: "do this" });
  node.waits = () => Promise.reject(new Error("boom"));
  const failed = await post("api/v1/wait");
  expect([failed.status, await failed.json()]).toEqual([
    500,
    { error: "boom", hint: "marmot status shows whether this node is ready and connected" },
  ]);
  expect((await get("healthz")).status).toBe(200);
});

test("requests with another host name or another origin are refused", async () => {
  server.attach(node, socket());
  const { port, host } = new URL(server.url!);
  for (const name of ["127.0.0.1", "localhost", "[::1]"])
    expect(await raw(["GET /healthz HTTP/1.1", `Host: ${name}:${port}`])).toContain("200");
  for (const name of ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "10.0.0.1"])
    expect(await raw(["GET /api/v1/status HTTP/1.1", `Host: ${name}:${port}`])).toContain("403");
  const ask = (origin: string): Promise<string> =>
    raw(["POST /api/v1/wait HTTP/1.1", `Host: ${host}`, `Origin: ${origin}`, "Content-Length: 0"]);
  expect(await ask(`http://${host}`)).toContain("200");
  for (const origin of ["https://evil.example", "null", "http://127.0.0.1:1"])
    expect(await ask(origin)).toContain("403");
  expect(node.calls.length).toBe(1);
});

test("with a token each TCP request needs it; the control socket does not", async () => {
  await server.stop();
  server = AdminServer.open({ address: LOOPBACK, token: "s3cret-token", starting });
  server.attach(node, socket());
  const status = async (authorization?: string): Promise<number> =>
    (await get("readyz", authorization === undefined ? {} : { headers: { authorization } })).status;
  expect(await status("Bearer s3cret-token")).toBe(200);
  expect(await status(`Basic ${btoa("anybody:s3cret-token")}`)).toBe(200);
  for (const wrong of [
    undefined,
    "Bearer s3cret-toke",
    "Bearer s3cret-tokeX",
    "Bearer s3cret-tokenx",
    "s3cret-token",
    `Basic ${btoa("s3cret-token:")}`,
    `Basic ${btoa("s3cret-token")}`,
    `Bearer ${"x".repeat(5000)}`,
  ])
    expect([wrong, await status(wrong)]).toEqual([wrong, 401]);
  expect((await get("healthz")).headers.get("www-authenticate")).toContain("Basic");
  expect((await control("readyz")).status).toBe(200);
});

describe("a session of the page", () => {
  const page = { "x-marmot-page": "1" };
  let cookie = "";
  beforeEach(async () => {
    await server.stop();
    server = AdminServer.open({ address: LOOPBACK, token: "s3cret-token", starting });
    server.attach(node, socket());
    const answer = await get("api/v1/session", {
      method: "POST",
      headers: { authorization: "Bearer s3cret-token", ...page },
    });
    expect(answer.status).toBe(204);
    const given = answer.headers.get("set-cookie") ?? "";
    for (const part of ["HttpOnly", "SameSite=Strict", "Path=/"]) expect(given).toContain(part);
    cookie = given.split(";")[0]!;
  });
  const status = async (path: string, init: RequestInit = {}): Promise<number> =>
    (await get(path, init)).status;

  test("reads with the cookie alone, and changes with the header of the page", async () => {
    expect(await status("api/v1/status", { headers: { cookie } })).toBe(200);
    const change = { method: "POST" };
    expect(await status("api/v1/wait", { ...change, headers: { cookie } })).toBe(403);
    expect(await status("api/v1/wait", { ...change, headers: { cookie, ...page } })).toBe(200);
    expect(await status("api/v1/wait", { ...change, headers: { ...page } })).toBe(401);
    const foreign = { cookie, ...page, origin: "https://evil.example" };
    expect(await status("api/v1/wait", { ...change, headers: foreign })).toBe(403);
  });
  test("ends when the page says so; an invented one is none", async () => {
    const other = cookie.replace(/=.*/, `=${"0".repeat(64)}`);
    expect(await status("api/v1/status", { headers: { cookie: other } })).toBe(401);
    expect(await status("api/v1/session", { method: "POST", headers: { cookie, ...page } })).toBe(204);
    expect(await status("api/v1/status", { headers: { cookie } })).toBe(401);
  });
  test("a browser without one gets the page with 401, a program a text; neither makes the browser ask", async () => {
    const answer = await get("", { headers: { accept: "text/html" } });
    expect([answer.status, answer.headers.get("www-authenticate")]).toEqual([401, 'Bearer realm="marmot"']);
    expect(await answer.text()).toContain("<title>Marmot</title>");
    expect((await get("api/v1/status", { headers: page })).headers.get("www-authenticate")).toContain(
      "Bearer",
    );
    expect((await get("")).headers.get("www-authenticate")).toContain("Basic");
  });
});

test("an occupied port is an error; off opens no port", async () => {
  const { port } = new URL(server.url!);
  const open = (): AdminServer =>
    AdminServer.open({ address: { host: "127.0.0.1", port: Number(port) }, token: null, starting });
  expect(open).toThrow(UserError);
  expect(open).toThrow(`cannot listen on 127.0.0.1:${port}`);
  const off = AdminServer.open({ address: null, token: null, starting });
  expect(off.url).toBe(null);
  off.attach(node, socket());
  expect((await control("healthz")).status).toBe(200);
  await off.stop();
});

test("the control socket works in a folder with a long path; a missing folder is an error", async () => {
  const deep = join(folder, "d".repeat(90), "e".repeat(90));
  expect(() => server.attach(node, join(deep, "control.sock"))).toThrow("the control socket");
  mkdirSync(deep, { recursive: true });
  server.attach(node, join(deep, "control.sock"));
  const answer = await fetch("http://localhost/healthz", { unix: join(deep, "control.sock") });
  expect(answer.status).toBe(200);
});

test("the change feed: events with ids for browsers, JSON lines by Accept, and the place to go on", async () => {
  const line = (kind: ChangeLine["kind"], last: boolean): ChangeLine => ({
    ...{ kind, last, position: last ? "c:7" : "" },
    json: `{"kind":"${kind}","last":${last}}`,
  });
  node.lines = [line("conflict", false), line("transaction", true)];
  server.attach(node, socket());
  const events = await get("api/v1/changes?since=c:3&tables=books,%20pages");
  expect(events.headers.get("content-type")).toBe("text/event-stream; charset=utf-8");
  expect(await events.text()).toBe(
    'event: conflict\ndata: {"kind":"conflict","last":false}\n\nevent: transaction\nid: c:7\ndata: {"kind":"transaction","last":true}\n\n',
  );
  const lines = await get("api/v1/changes?since=c:3&follow=false", {
    headers: { accept: "application/x-ndjson", "last-event-id": "c:5" },
  });
  expect([lines.headers.get("content-type"), await lines.text()]).toEqual([
    "application/x-ndjson",
    '{"kind":"conflict","last":false}\n{"kind":"transaction","last":true}\n',
  ]);
  expect(node.calls.map((c) => c.options)).toEqual([
    { since: "c:3", tables: ["books", "pages"], follow: true },
    { since: "c:5", tables: null, follow: false },
  ]);
});

test("undo needs either a position or a time, and passes its choice on", async () => {
  server.attach(node, socket());
  const done = await post("api/v1/undo?since=10m&origin=n1&table=books&dryRun=true");
  expect(await done.json()).toEqual({ ...UNDONE, dryRun: true });
  expect(node.calls.at(-1)?.options).toEqual({
    ...{ position: null, since: "10m", origin: "n1", table: "books", force: false, dryRun: true },
  });
  for (const query of ["", "?since=1m&position=c:1", "?since=1m&force=perhaps"])
    expect([query, (await post(`api/v1/undo${query}`)).status]).toEqual([query, 400]);
  expect((await get("api/v1/undo?since=1m")).status).toBe(404);
});
