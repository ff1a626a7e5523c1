/** Files and requests of people: keys, lists, configuration, the admin API. */
import { strict as assert } from "node:assert";
import { UserError } from "../../src/base/errors.ts";
import { asPeerId } from "../../src/base/ids.ts";
import { refusal } from "../../src/admin/guard.ts";
import { dashboard } from "../../src/admin/answers.ts";
import { Sessions } from "../../src/admin/sessions.ts";
import { systemClock } from "../../src/base/clock.ts";
import { Routes } from "../../src/admin/routes.ts";
import { parseOptions } from "../../src/cli/options/options.ts";
import { RUN_OPTIONS, runSettings } from "../../src/cli/run-options.ts";
import { contradictions, doubled } from "../../src/cli/run-options.ts";
import { parseAdmitted } from "../../src/replication/members/admitted-peers.ts";
import { generateClusterKey, parseClusterKeys } from "../../src/transport/cluster-key.ts";
import { FakeNode } from "../admin/fake-node.ts";
import { mayThrow, type MakeTarget } from "./target.ts";

const textOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString("utf8");

/** A key file has at least one key of 32 bytes, or is refused without showing its content. */
export const keyFiles: MakeTarget = () => {
  const secret = generateClusterKey();
  return {
    name: "key files",
    samples: [secret, `${secret}\n${generateClusterKey()}\r\n`, `# comment\n\n ${secret} \n`].map((t) =>
      Buffer.from(t),
    ),
    feed: (bytes) =>
      mayThrow([UserError], () => {
        const keys = parseClusterKeys(textOf(bytes), "file");
        assert(keys.length > 0 && keys.every((key) => key.length === 32));
      }),
  };
};

export const admittedLists: MakeTarget = () => {
  const id = asPeerId("12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X");
  return {
    name: "admitted lists",
    samples: [`${id} reader # x\n`, `# none\n${id}`].map((t) => Buffer.from(t)),
    feed: (bytes) =>
      mayThrow([UserError], () => {
        for (const role of parseAdmitted(textOf(bytes), "file").values())
          assert(["voter", "learner", "reader"].includes(role));
      }),
  };
};

/** Every problem of a configuration file is in the result, with a hint. */
export const configurationFiles: MakeTarget = () => ({
  name: "configuration files",
  samples: [
    'db = "app.db"\nshards = 4\npeers = ["/ip4/127.0.0.1/tcp/1"]\nmerge = "column"\ncreate = true\n',
    'db = "a"\n[table]\nx = 1\nrole = "reader"\nscan = "t=1m"\nadmin = "off"\n',
  ].map((t) => Buffer.from(t)),
  feed(bytes) {
    const known = RUN_OPTIONS.map((o) => o.name);
    const sources = { argv: ["--config", "c.toml"], environment: {}, readFile: () => textOf(bytes) };
    const { options, problems } = parseOptions({ specs: RUN_OPTIONS, words: 0, known }, sources);
    for (const { message, hint } of problems) assert(message.length > 0 && hint.length > 0);
    const settings = runSettings(options, { environment: {}, hostName: "h" });
    contradictions(settings);
    doubled(options);
  },
});

const METHODS = ["GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS"];
const HEADERS = ["host", "origin", "authorization", "content-type", "x-forwarded-for"];

/** Each request gets an answer, and none of them an error of the program. */
export const adminApi: MakeTarget = () => {
  const routes = new Routes({ starting: () => "starting" });
  routes.attach(new FakeNode());
  const sessions = new Sessions(() => systemClock.now());
  const access = { token: null, open: [], sessions, page: dashboard };
  const table = routes.table((request) => refusal(request, access));
  const fallback = routes.fallback((request) => refusal(request, access));
  const paths = Object.keys(table);
  return {
    name: "admin API",
    samples: [
      ...paths,
      "/api/v1/wait?timeout=1s&all=true",
      "/api/v1/verify?deep=1&table=t",
      "/api/v1/conflicts?limit=5",
    ].map((t) => Buffer.from(t)),
    async feed(bytes, random) {
      const path = textOf(bytes).replaceAll("\0", "").slice(0, 6000);
      const url = `http://127.0.0.1${path.startsWith("/") ? "" : "/"}${path}`;
      if (!URL.canParse(url)) return;
      const headers = new Headers({ host: "127.0.0.1" });
      for (let i = random.below(3); i > 0; i--) {
        const value = textOf(bytes)
          .replace(/[^\x20-\x7e]/g, "")
          .slice(0, 300);
        headers.set(random.pick(HEADERS), value);
      }
      const request = Object.assign(new Request(url, { method: random.pick(METHODS), headers }), {
        params: { id: path.slice(0, 100) },
      });
      const route = table[random.pick(paths)]!;
      const response = random.chance(0.8) ? await route(request) : fallback(request);
      assert(
        response.status >= 200 && response.status !== 500 && response.status < 600,
        `${response.status} for ${url}`,
      );
    },
  };
};
