/**
 * Requests that go to another of three nodes each time, with the position of the last write as their cookie: no read may
 * be stale. Needs dist/marmot.
 *
 *   bun scripts/bounce.ts [--requests N] [--users N] [--shards N]
 */
import { bounce } from "../test/cluster/bounce.ts";
import { parseScriptArgs } from "./lib/usage.ts";

const { values } = parseScriptArgs(import.meta.path, {
  requests: { type: "string", default: "100000" },
  users: { type: "string", default: "48" },
  shards: { type: "string", default: "1" },
});
const { requests, stale, waited, ms } = await bounce({
  requests: Number(values.requests),
  users: Number(values.users),
  shards: Number(values.shards),
});
console.log(
  `${requests} requests in ${ms} ms, ${waited} waited for their position, ${stale.length} stale reads`,
);
if (stale.length > 0) console.log(stale.slice(0, 20).join("\n"));
process.exit(stale.length === 0 ? 0 : 1);
