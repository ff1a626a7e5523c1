/** Backups in a store that is busy, cuts connections or keeps silent: a store in this process that has these faults. */
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "bun:test";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { useS3 } from "../../src/base/s3/s3-client.ts";
import { openS3 } from "../../src/archive/stores/s3-store.ts";
import { type BackupPlace, backupPlace } from "../../src/node/backup/places/place.ts";

const SECRET = "a-secret-key";
const objects = new Map<string, Buffer>();
/** Fault of the next requests; each call answers whether this request has it. */
let busy: (request: IncomingMessage) => boolean = () => false;
let cut: (request: IncomingMessage) => boolean = () => false;
/** The request is done, and its answer is lost. */
let lost: (request: IncomingMessage) => boolean = () => false;
let requests = 0;

async function serve(request: IncomingMessage, answer: ServerResponse): Promise<void> {
  requests++;
  const { pathname } = new URL(request.url!, "http://x");
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  if (busy(request)) return void answer.writeHead(503).end("<Error><Code>SlowDown</Code></Error>");
  const body = Buffer.concat(chunks);
  const isCut = cut(request);
  if (request.method === "PUT") {
    if (isCut) return void request.socket.destroy();
    if (request.headers["if-none-match"] === "*" && objects.has(pathname))
      return void answer.writeHead(412).end("<Error><Code>PreconditionFailed</Code></Error>");
    objects.set(pathname, body);
    if (lost(request)) return void request.socket.destroy();
    return void answer.writeHead(200, { etag: '"1"' }).end();
  }
  const object = objects.get(pathname);
  if (request.method === "DELETE") objects.delete(pathname);
  if (request.method === "DELETE") return void answer.writeHead(204).end();
  if (object === undefined) return void answer.writeHead(404).end("<Error><Code>NoSuchKey</Code></Error>");
  const from = Number(/bytes=(\d+)-/.exec(request.headers.range ?? "")?.[1] ?? 0);
  const rest = object.subarray(from);
  answer.writeHead(from > 0 ? 206 : 200, { "content-length": rest.length, etag: '"1"' });
  if (request.method === "HEAD") return void answer.end();
  if (!isCut) return void answer.end(rest);
  answer.write(rest.subarray(0, Math.ceil(rest.length / 2)), () => request.socket.destroy());
}

let server: Server;
let scratch: string;
const VARIABLES = { S3_ACCESS_KEY_ID: "key", S3_SECRET_ACCESS_KEY: SECRET, S3_REGION: "us-east-1" };

beforeAll(async () => {
  server = createServer((request, answer) => void serve(request, answer));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  useS3({
    ...VARIABLES,
    AWS_ENDPOINT_URL: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
  });
});
afterAll(() => {
  useS3({});
  server.closeAllConnections();
  server.close();
});
beforeEach(() => {
  scratch = mkdtempSync(join(tmpdir(), "marmot-s3-"));
});
afterEach(() => {
  rmSync(scratch, { recursive: true, force: true });
  objects.clear();
  busy = cut = lost = () => false;
  requests = 0;
});

const place = (): BackupPlace => backupPlace("s3://box/app/copy.db", scratch);

/** Bytes that no part of repeats. */
const CONTENT = Buffer.from(Array.from({ length: 300_000 }, (_, i) => (i * i + (i >> 8)) & 0xff));

async function read(from: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of from) chunks.push(chunk);
  return Buffer.concat(chunks);
}

test("requests to a store that is busy for a while are sent again", async () => {
  const { folder, name } = place();
  let refused = 0;
  busy = () => refused++ % 3 !== 2;
  writeFileSync(await folder.buildAt(name!), CONTENT);
  await folder.put(name!);
  await folder.putText(`${name!}.json`, "{}");
  expect(await folder.has(name!)).toBe(true);
  expect(await folder.text(`${name!}.json`)).toBe("{}");
  expect(Buffer.compare(await read(folder.stream(name!)), CONTENT)).toBe(0);
  await folder.remove(name!);
  expect(await folder.has(name!)).toBe(false);
}, 60_000);

test("a download that is cut again and again goes on from its place", async () => {
  objects.set("/box/app/copy.db", CONTENT);
  const { folder, name } = place();
  let cuts = 0;
  cut = ({ method }) => method === "GET" && ++cuts <= 4;
  expect(Buffer.compare(await read(folder.stream(name!)), CONTENT)).toBe(0);
  expect(cuts).toBe(5);
}, 60_000);

test("an upload that is always cut ends with a clear error, and leaves nothing", async () => {
  const { folder, name } = place();
  cut = ({ method }) => method === "PUT";
  writeFileSync(await folder.buildAt(name!), CONTENT);
  const error = await folder.put(name!).then(
    () => null,
    (e: Error & { hint: string }) => e,
  );
  expect(error?.message).toMatch(
    /^the store s3:\/\/box\/app\/ does not answer as it should, in 5 attempts: the connection/,
  );
  expect([error!.hint.includes("S3_ENDPOINT"), JSON.stringify(error).includes(SECRET)]).toEqual([
    true,
    false,
  ]);
  expect([objects.size, readdirSync(scratch)]).toEqual([0, []]);
}, 60_000);

test("a store that stays busy is given up after some attempts", async () => {
  busy = () => true;
  const { folder, name } = place();
  expect(await folder.has(name!).catch((error: Error) => error.message)).toContain(
    "in 5 attempts: it answers 503",
  );
  expect(requests).toBe(5);
}, 60_000);

test("an object of an archive is created once, also when the answer is lost, and never takes the place of another", async () => {
  const store = openS3("s3://box/archive");
  const [own, other] = [Buffer.from("own"), Buffer.from("other")];
  let answers = 0;
  lost = ({ method }) => method === "PUT" && ++answers === 1;
  expect(await store.create("chain/1", own)).toBe(true);
  expect(answers).toBe(1);
  expect(await store.create("chain/1", other)).toBe(false);
  expect(await store.create("chain/1", own)).toBe(false);
  // Another node is first while this one waits for its second attempt.
  answers = 0;
  busy = ({ method, url }) => {
    if (method !== "PUT" || ++answers > 1) return false;
    objects.set(new URL(url!, "http://x").pathname, other);
    return true;
  };
  expect(await store.create("chain/2", own)).toBe(false);
  expect(await store.get("chain/2")).toEqual(other);
  expect(await store.get("chain/3")).toBeNull();
}, 60_000);

test("objects of an archive are read and written although requests fail, and a copy begins again", async () => {
  const store = openS3("s3://box/archive");
  let [failed, begun] = [0, 0];
  busy = () => failed++ % 2 === 0;
  await store.put("head.json", CONTENT);
  expect(Buffer.compare((await store.get("head.json"))!, CONTENT)).toBe(0);
  busy = () => false;
  let cuts = 0;
  cut = ({ method }) => method === "GET" && ++cuts % 3 !== 0;
  expect(Buffer.compare((await store.get("head.json"))!, CONTENT)).toBe(0);
  expect(Buffer.compare(await read(store.stream("head.json")), CONTENT)).toBe(0);
  cut = () => false;
  const chunks = async function* (): AsyncGenerator<Uint8Array, void> {
    begun++;
    yield await Promise.resolve(CONTENT);
    if (begun === 1) throw new Error("the file was not ready");
  };
  await store.upload("copies/1", chunks);
  expect(begun).toBe(2);
  expect(Buffer.compare((await store.get("copies/1"))!, CONTENT)).toBe(0);
  busy = () => true;
  const message = await store.get("head.json").then(String, (error: Error) => error.message);
  expect(message).toContain("the store s3://box/archive does not answer as it should, in 3 attempts");
}, 60_000);
