/** `marmot status`: the cluster as this node sees it. Exit code 0 only when the node is ready. */
import { systemClock } from "../../base/clock.ts";
import { showDuration } from "../../base/duration.ts";
import { UserError } from "../../base/errors.ts";
import type { NodeStatus } from "../../operations/api.ts";
import { NodeClient } from "../client.ts";
import type { CliContext } from "../context.ts";
import type { Options } from "../options/options.ts";
import { painter } from "../output/color.ts";
import { locatorOf, statusText } from "../output/status-text.ts";
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

const WATCH_MS = 1000;
/** Between two looks of --wait-ready. */
const LOOK_MS = 100;

async function run(options: Options, _words: readonly string[], context: CliContext): Promise<number> {
  const client = new NodeClient(dataDirOf(options));
  const ask = (): Promise<NodeStatus> => client.request<NodeStatus>("GET", "/api/v1/status");
  const locator = locatorOf(text(options, "db"), text(options, "data-dir"));
  const show = (status: NodeStatus): string =>
    flag(options, "json")
      ? JSON.stringify(status)
      : statusText(status, { wide: flag(options, "wide"), locator, paint: painter(context.colors.out) });
  const patience = number(options, "wait-ready");
  const first = patience === null ? await ask() : await untilReady(ask, patience);
  if (flag(options, "alive")) return 0;
  if (!flag(options, "watch")) {
    context.print(show(first));
    if (!first.node.ready && patience !== null)
      context.say(`not ready within ${showDuration(patience)}: ${first.node.waitingFor}`);
    return first.node.ready ? 0 : 1;
  }
  return watch(first, { ask, show, context });
}

/** The status when the node is ready, or the last one when the time ran out. A node that does not run yet is waited for. */
async function untilReady(ask: () => Promise<NodeStatus>, patience: number): Promise<NodeStatus> {
  const end = systemClock.now() + patience;
  for (;;) {
    const isLast = systemClock.now() >= end;
    try {
      const status = await ask();
      if (status.node.ready || isLast) return status;
    } catch (error) {
      if (isLast || !(error instanceof UserError)) throw error;
    }
    await Bun.sleep(LOOK_MS);
  }
}

interface Watching {
  readonly ask: () => Promise<NodeStatus>;
  readonly show: (status: NodeStatus) => string;
  readonly context: CliContext;
}

async function watch(first: NodeStatus, { ask, show, context }: Watching): Promise<number> {
  const interrupted = context.interrupted().then(() => true);
  context.clear?.();
  context.print(show(first));
  for (;;) {
    if (await Promise.race([interrupted, Bun.sleep(WATCH_MS).then(() => false)])) return 0;
    try {
      const next = show(await ask());
      context.clear?.();
      context.print(next);
    } catch (error) {
      // The node may be restarting.
      if (!(error instanceof UserError)) throw error;
      context.say(`${error.message}; trying again`);
    }
  }
}

export const statusVerb: Verb = {
  name: "status",
  summary: "Says how the cluster is, as this node sees it, and what to do.",
  details: ["Exit code 0 when this node is ready, 1 when it is not."],
  usage: "status --db FILE [options]",
  options: [
    ...NODE_OPTIONS,
    {
      name: "wait-ready",
      type: "duration",
      value: "TIME",
      help: "wait until it is ready, at most so long",
      example: "60s",
    },
    { name: "alive", type: "flag", help: "exit code 0 if it answers, ready or not" },
    { name: "watch", type: "flag", help: "repeat every second, until Ctrl-C" },
    { name: "wide", type: "flag", help: "also addresses, ids, shards and settings" },
    JSON_OPTION,
    CONFIG_OPTION,
  ],
  example: "marmot status --db app.db --watch",
  run,
};
