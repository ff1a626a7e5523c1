/** `marmot run`: a node until it is told to stop. */
import { errorMessage, UserError } from "../../base/errors.ts";
import { createLogger, type LogLevel } from "../../base/logger.ts";
import { systemClock } from "../../base/clock.ts";
import { Random } from "../../base/random.ts";
import type { NodeOptions } from "../../node/options.ts";
import type { RunningNode } from "../../node/running.ts";
import type { CliContext } from "../context.ts";
import { type OptionSpec, type Options, usage } from "../options.ts";
import { progressLine } from "../progress.ts";
import { CONFIG_OPTION, flag, list, number, text, type Verb } from "../verb.ts";

const DEFAULT_LISTEN = "/ip4/0.0.0.0/tcp/8160";
const DEFAULT_ADMIN = "127.0.0.1:6010";

/** A multiaddr over TCP: a host part and a port, perhaps with a peer id. */
function checkMultiaddr(address: string): string | null {
  const ok =
    /^\/(?:ip4\/\d{1,3}(?:\.\d{1,3}){3}|ip6\/[0-9a-fA-F:.]+|dns[46]?\/[^/\s]+)\/tcp\/(\d{1,5})(?:\/p2p\/[A-Za-z0-9]+)?$/.exec(
      address,
    );
  return ok !== null && Number(ok[1]) <= 65_535
    ? null
    : "a multiaddr such as /ip4/10.0.0.1/tcp/8160 or /dns/node-1/tcp/8160";
}

const OPTIONS: readonly OptionSpec[] = [
  { name: "db", type: "text", value: "FILE", help: "the application's SQLite file (required)" },
  { name: "data-dir", type: "text", value: "DIR", help: "keys, replica, log (default: FILE.marmot)" },
  {
    name: "listen",
    type: "list",
    value: "ADDR,…",
    help: `for peers (${DEFAULT_LISTEN})`,
    check: checkMultiaddr,
  },
  {
    name: "announce",
    type: "list",
    value: "ADDR,…",
    help: "what to tell peers, behind NAT",
    check: checkMultiaddr,
  },
  { name: "peers", type: "list", value: "ADDR,…", help: "nodes to join", check: checkMultiaddr },
  {
    name: "discover",
    type: "text",
    value: "mdns",
    help: "find peers on the local network",
    choices: ["mdns", "off"],
  },
  { name: "cluster-key", type: "text", value: "FILE", help: "the shared secret (DIR/cluster.key)" },
  { name: "name", type: "text", value: "NAME", help: "this node's name (host name)" },
  {
    name: "role",
    type: "text",
    value: "ROLE",
    help: "voter or learner (voter)",
    choices: ["voter", "learner"],
  },
  { name: "create", type: "flag", help: "make an empty FILE if there is none" },
  {
    name: "shards",
    type: "number",
    value: "N",
    help: "Raft groups, 1 to 64, for good (1)",
    minimum: 1,
    maximum: 64,
  },
  {
    name: "transactions",
    type: "text",
    value: "HOW",
    help: "whole or row, with several shards",
    choices: ["whole", "row"],
  },
  { name: "tables", type: "list", value: "A,B", help: "what replicates (all)" },
  { name: "exclude", type: "list", value: "C", help: "what does not" },
  { name: "admin", type: "text", value: "HOST:PORT", help: `API and dashboard, or off (${DEFAULT_ADMIN})` },
  { name: "admin-token", type: "text", value: "TOKEN", help: "needed off loopback" },
  {
    name: "log-level",
    type: "text",
    value: "LEVEL",
    help: "debug, info, warn, error (info)",
    choices: ["debug", "info", "warn", "error"],
  },
  {
    name: "log-format",
    type: "text",
    value: "FORMAT",
    help: "text or json (text)",
    choices: ["text", "json"],
  },
  CONFIG_OPTION,
];

export interface RunSettings {
  readonly node: NodeOptions;
  readonly admin: { readonly host: string; readonly port: number } | null;
  readonly token: string | null;
}

/** Checks what concerns several options at once. Throws `UsageError` with all of it. */
export function runSettings(
  options: Options,
  context: Pick<CliContext, "environment" | "hostName">,
): RunSettings {
  const problems: string[] = [];
  const db = text(options, "db");
  if (db === null) problems.push("--db FILE is needed: the SQLite file to replicate");
  const adminText = text(options, "admin") ?? DEFAULT_ADMIN;
  let admin: RunSettings["admin"] = null;
  if (adminText !== "off") {
    const match = /^(\[[^\]]+\]|[^:]+):(\d{1,5})$/.exec(adminText);
    if (match === null || Number(match[2]) > 65_535)
      problems.push(`--admin should be HOST:PORT or off, not ${adminText}`);
    else admin = { host: match[1]!.replace(/^\[|\]$/g, ""), port: Number(match[2]) };
  }
  const token = text(options, "admin-token");
  if (admin !== null && token === null && !/^(127\.\d+\.\d+\.\d+|localhost|::1)$/.test(admin.host))
    problems.push(`--admin ${adminText} is not a loopback address: give --admin-token, too`);
  const tables = list(options, "tables");
  const exclude = list(options, "exclude");
  const both = (tables ?? []).filter((t) => exclude?.includes(t));
  if (both.length > 0) problems.push(`--tables and --exclude both name ${both.join(", ")}`);
  const peers = list(options, "peers") ?? [];
  if (flag(options, "create") && peers.length > 0)
    problems.push(
      "--create makes a new cluster's file, --peers joins one whose file is received: give one of them",
    );
  const keyText = context.environment.MARMOT_CLUSTER_KEY;
  const keyFromFlag = text(options, "cluster-key");
  if (problems.length > 0) throw usage(problems);
  // The variable holds the key itself, or names a file like the option of that name.
  const variableIsKey = keyText !== undefined && keyText.startsWith("marmot-cluster-key-");
  return {
    admin,
    token,
    node: {
      db: db!,
      dataDir: text(options, "data-dir") ?? `${db!}.marmot`,
      listen: list(options, "listen") ?? [DEFAULT_LISTEN],
      announce: list(options, "announce") ?? [],
      peers,
      mdns: text(options, "discover") === "mdns",
      name: text(options, "name") ?? context.hostName,
      role: text(options, "role") === "learner" ? "learner" : "voter",
      create: flag(options, "create"),
      clusterKeyText: variableIsKey && keyFromFlag === keyText ? keyText : null,
      clusterKeyFile: variableIsKey && keyFromFlag === keyText ? null : keyFromFlag,
      shards: number(options, "shards"),
      transactions: text(options, "transactions") as "whole" | "row" | null,
      tables,
      exclude,
    },
  };
}

async function run(options: Options, _words: readonly string[], context: CliContext): Promise<number> {
  const settings = runSettings(options, context);
  const logger = createLogger({
    level: (text(options, "log-level") ?? "info") as LogLevel,
    format: text(options, "log-format") === "json" ? "json" : "text",
    write: context.say,
    wallTime: () => systemClock.wallTime(),
  });
  const [{ startNode }, { startAdmin }, { controlSocketOf }] = await Promise.all([
    import("../../node/node.ts"),
    import("../../admin/server.ts"),
    import("../../node/keys.ts"),
  ]);
  const random = new Random(crypto.getRandomValues(new Uint32Array(1))[0]!);
  const onProgress = progressLine(context, logger, () => systemClock.now());
  const node = await startNode(settings.node, { clock: systemClock, random, logger, onProgress });
  let admin: Awaited<ReturnType<typeof startAdmin>>;
  try {
    admin = await startAdmin(node.api, {
      address: settings.admin,
      controlSocket: controlSocketOf(settings.node.dataDir),
      token: settings.token,
    });
  } catch (error) {
    await node.stop();
    throw error;
  }
  greet(node, admin.url, context);
  const failure = await Promise.race([node.failed, context.interrupted.then(() => null)]);
  await admin.stop();
  await node.stop();
  if (failure === null) return 0;
  logger.error("the node stopped", { error: failure.message });
  throw failure instanceof UserError
    ? failure
    : new UserError(
        `the node stopped: ${errorMessage(failure)}`,
        "see the log above; nothing that was acknowledged is lost",
        { cause: failure },
      );
}

function greet(node: RunningNode, url: string | null, context: CliContext): void {
  const { started, api } = node;
  const lines = [
    `node       ${started.name} ${started.peerId}`,
    ...started.addresses.map((a, i) => `${i === 0 ? "listening " : "          "} ${a}`),
    `dashboard  ${url ?? "off"}`,
  ];
  if (started.clusterId !== "") lines.push(`cluster    ${started.clusterId}`);
  if (started.replicated.length > 0) lines.push(`replicates ${wrap(started.replicated)}`);
  for (const { name, reason } of started.skipped) lines.push(`skipped    ${name}: ${reason}`);
  for (const note of started.notes) lines.push(`note       ${note}`);
  const waiting = api.notReady();
  if (waiting !== null) lines.push(`waits for  ${waiting}`);
  context.say(lines.join("\n"));
}

/** As many names as fit on some lines. */
function wrap(names: readonly string[]): string {
  const shown = names.slice(0, 40).join(", ");
  return names.length > 40 ? `${shown} and ${names.length - 40} more` : shown;
}

export const runVerb: Verb = {
  name: "run",
  summary: "Runs a node: replicates FILE with its peers, or forms a new cluster without --peers.",
  usage: "run --db FILE [options]",
  options: OPTIONS,
  example: "marmot run --db app.db --peers /dns/node-1/tcp/8160 --cluster-key cluster.key",
  run,
};
