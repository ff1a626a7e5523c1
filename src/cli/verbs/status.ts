/** `marmot status`: the cluster as this node sees it. Exit code 0 only when the node is ready. */
import { UserError } from "../../base/errors.ts";
import type { NodeStatus } from "../../operations/api.ts";
import { NodeClient } from "../client.ts";
import type { CliContext } from "../context.ts";
import type { Options } from "../options/options.ts";
import { describe } from "../output/progress-line.ts";
import { table } from "../output/table.ts";
import { CONFIG_OPTION, dataDirOf, flag, JSON_OPTION, NODE_OPTIONS, type Verb } from "../verb.ts";

const WATCH_MS = 1000;

function showStatus(status: NodeStatus): string {
  const { node, cluster, members, shards, pending, conflicts, tables, progress } = status;
  const parts = [
    `node ${node.name} ${node.peerId}, marmot ${node.version}: ${node.ready ? "ready" : node.waitingFor}`,
    `cluster ${cluster.id || "none yet"}, ${cluster.shards} shards, transactions ${cluster.transactions}, schema ${cluster.schemaVersion}, key ${cluster.keyFingerprint}`,
  ];
  if (progress !== null) parts.push(describe(progress));
  const rows = members.map((m) => [
    m.name,
    m.role,
    m.connected ? "yes" : "no",
    m.lagEntries === null ? "?" : String(m.lagEntries),
    m.checksumAgrees === null ? "?" : m.checksumAgrees ? "yes" : "NO",
    m.version,
    m.addresses[0] ?? "",
  ]);
  parts.push("", table(["NODE", "ROLE", "CONNECTED", "BEHIND", "AGREES", "VERSION", "ADDRESS"], rows));
  const groups = shards.map((s) =>
    [s.shard, s.role, s.leader || "none", s.term, s.commitIndex, s.appliedIndex, s.pendingChanges].map(
      String,
    ),
  );
  parts.push("", table(["SHARD", "ROLE", "LEADER", "TERM", "COMMIT", "APPLIED", "PENDING"], groups));
  const age = pending.changes > 0 ? `, the oldest ${(pending.oldestMs / 1000).toFixed(1)} s old` : "";
  parts.push(
    "",
    `pending ${pending.changes} changes${age}; conflicts ${conflicts.total}${conflicts.orphans > 0 ? `, dangling references ${conflicts.orphans}` : ""}; tables ${tables.replicated.length}`,
  );
  if (status.sqlite.warning !== "") parts.push(`warning: ${status.sqlite.warning}`);
  for (const { from, to, reason } of status.unreached)
    parts.push(`not connected: ${from} and ${to}: ${reason}`);
  for (const { peerId, name, by, reason } of status.refusals)
    parts.push(
      `refused: ${by === "peer" ? `${name || peerId} refuses this node` : `this node refuses ${name || peerId}`}: ${reason}`,
    );
  for (const { name, writes, newest, heldBackBy } of status.formats)
    parts.push(
      `format ${writes} of ${name} instead of ${newest} is written: update or remove ${heldBackBy.join(", ")}`,
    );
  for (const { name, reason } of tables.skipped) parts.push(`skipped ${name}: ${reason}`);
  return parts.join("\n");
}

async function run(options: Options, _words: readonly string[], context: CliContext): Promise<number> {
  const client = new NodeClient(dataDirOf(options));
  const ask = (): Promise<NodeStatus> => client.request<NodeStatus>("GET", "/api/v1/status");
  const show = (status: NodeStatus): string =>
    flag(options, "json") ? JSON.stringify(status) : showStatus(status);
  const first = await ask();
  if (!flag(options, "watch")) {
    context.print(show(first));
    return first.node.ready ? 0 : 1;
  }
  const interrupted = context.interrupted().then(() => true);
  const clear = context.isTerminal ? "\u001b[H\u001b[2J" : "";
  context.print(clear + show(first));
  for (;;) {
    if (await Promise.race([interrupted, Bun.sleep(WATCH_MS).then(() => false)])) return 0;
    try {
      context.print(clear + show(await ask()));
    } catch (error) {
      // The node may be restarting.
      if (!(error instanceof UserError)) throw error;
      context.say(`${error.message}; trying again`);
    }
  }
}

export const statusVerb: Verb = {
  name: "status",
  summary: "Shows nodes, shards and pending changes, as this node sees them.",
  details: ["Exit code 0 when this node is ready, 1 when it is not."],
  usage: "status --db FILE [options]",
  options: [
    ...NODE_OPTIONS,
    { name: "watch", type: "flag", help: "repeat every second, until Ctrl-C" },
    JSON_OPTION,
    CONFIG_OPTION,
  ],
  example: "marmot status --db app.db --watch",
  run,
};
