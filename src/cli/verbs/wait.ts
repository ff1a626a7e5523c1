/** `marmot wait`: returns when the changes committed here are ordered and applied. */
import type { WaitResult } from "../../operations/api.ts";
import { MAX_TIMEOUT_MS, showDuration } from "../../base/duration.ts";
import { parsePosition } from "../../base/text/position-token.ts";
import { NodeClient } from "../client.ts";
import type { CliContext } from "../context.ts";
import type { Options } from "../options/options.ts";
import {
  CONFIG_OPTION,
  dataDirOf,
  flag,
  JSON_OPTION,
  NODE_OPTIONS,
  number,
  text,
  type Verb,
} from "../verb.ts";

const DEFAULT_MS = 10_000;
/** Time for the answer itself. */
const SLACK_MS = 10_000;

async function run(options: Options, _words: readonly string[], context: CliContext): Promise<number> {
  const timeout = number(options, "timeout") ?? DEFAULT_MS;
  const all = flag(options, "all");
  const client = new NodeClient(dataDirOf(options));
  const position = text(options, "position");
  const asked =
    position === null ? "" : `&position=${encodeURIComponent(position)}&here=${flag(options, "here")}`;
  const result = await client.requestWait<WaitResult>(
    `/api/v1/wait?timeout=${timeout}ms&all=${all}${asked}`,
    Math.min(timeout, MAX_TIMEOUT_MS) + SLACK_MS,
  );
  if (flag(options, "json")) context.print(JSON.stringify(result));
  if (!result.done) context.say(`not done within ${showDuration(timeout)}: waiting for ${result.missing}`);
  return result.done ? 0 : 1;
}

export const waitVerb: Verb = {
  name: "wait",
  summary: "Returns when the commits to FILE are ordered and applied.",
  details: [
    "All changes committed before the call: ordered by a quorum, applied here.",
    "--json prints their position, for --position on any node.",
    "Exit code 1 when the time runs out.",
  ],
  usage: "wait --db FILE [options]",
  options: [
    ...NODE_OPTIONS,
    { name: "all", type: "flag", help: "applied on every live node" },
    {
      name: "position",
      type: "text",
      value: "POS",
      help: "until this position is ordered, ",
      example: "c:812",
      check: (given) => (parsePosition(given) === null ? "a position such as c:812" : null),
    },
    { name: "here", type: "flag", help: "and shown in FILE", joined: true },
    {
      name: "timeout",
      type: "duration",
      value: "TIME",
      help: "the longest wait (10s)",
      example: "10s",
    },
    JSON_OPTION,
    CONFIG_OPTION,
  ],
  example: "marmot wait --db app.db --all --timeout 30s",
  check: (options) =>
    flag(options, "here") && text(options, "position") === null
      ? [{ message: "--here belongs to --position", hint: "also give --position c:812, or leave --here out" }]
      : [],
  run,
};
