/** Counters and gauges of a node for `/metrics`. */
import type { Metric, ShardStatus } from "../api.ts";
import { nodeStatus, type StatusSource } from "./node-status.ts";

export function nodeMetrics(source: StatusSource): Metric[] {
  const status = nodeStatus(source);
  const { replicator } = source;
  const one = (name: string, help: string, value: number, type: Metric["type"] = "gauge"): Metric => ({
    name,
    help,
    type,
    samples: [{ value }],
  });
  const perShard = (name: string, help: string, of: (s: ShardStatus) => number): Metric => ({
    name,
    help,
    type: "gauge",
    samples: status.shards.map((s) => ({ labels: { shard: String(s.shard) }, value: of(s) })),
  });
  const counters = replicator?.pipeline.counters();
  return [
    one("ready", "1 when the node is ready", status.node.ready ? 1 : 0),
    one("members", "members of the cluster", status.members.length),
    one(
      "members_connected",
      "members connected to this node, itself included",
      status.members.filter((m) => m.connected).length,
    ),
    one("pending_changes", "changed rows that are not acknowledged", status.pending.changes),
    one("pending_bytes", "bytes proposed and not yet committed", status.pending.bytes),
    one(
      "pending_oldest_seconds",
      "age of the oldest change that is not acknowledged",
      status.pending.oldestMs / 1000,
    ),
    one("conflicts", "conflicts in the journal", status.conflicts.total),
    one(
      "conflicts_open",
      "conflicts in the journal that are neither restored nor dismissed",
      status.conflicts.open,
    ),
    {
      ...{ name: "backup_last_seconds", help: "Unix time of the newest backup", type: "gauge" },
      samples: at(status.backups?.lastAt),
    },
    one("backup_failures_total", "backups that failed", status.backups?.failures ?? 0, "counter"),
    one(
      "feed_events_total",
      "events that the consumer of the change feed took",
      status.feed?.sent ?? 0,
      "counter",
    ),
    one("feed_failures_total", "events that it did not take", status.feed?.failures ?? 0, "counter"),
    one("orphans", "references that concurrent writes left dangling", status.conflicts.orphans),
    perShard("term", "Raft term", (s) => s.term),
    perShard("commit_index", "Raft commit index", (s) => s.commitIndex),
    perShard("applied_index", "index that the replica contains", (s) => s.appliedIndex),
    perShard("leader", "1 on the leader", (s) => (s.role === "leader" ? 1 : 0)),
    one(
      "reflections_total",
      "transactions that wrote replicated changes into the application's file",
      counters?.reflections ?? 0,
      "counter",
    ),
    one("drained_rows_total", "changed rows proposed to the log", counters?.drainedRows ?? 0, "counter"),
    one(
      "log_transactions_total",
      "durable transactions of the Raft log",
      replicator?.log.transactions ?? 0,
      "counter",
    ),
    one("log_bytes", "size of the Raft log on disk", replicator?.log.size() ?? 0),
  ];
}

/** None while there is no such time. */
const at = (ms: number | null | undefined): Metric["samples"] => (ms == null ? [] : [{ value: ms / 1000 }]);
