/** Counters, gauges and histograms of a node for `/metrics`. */
import type { PeerId } from "../../base/ids.ts";
import type { Measures } from "../../replication/measures/measures.ts";
import type { MemberStatus, Metric, NodeStatus, ShardStatus } from "../api.ts";
import { fileMetrics, type MeasuredFiles } from "./file-metrics.ts";
import { archiveMetrics } from "./archive-metrics.ts";
import { counter, gauge, histogram, labelled } from "./metric.ts";
import { nodeStatus, type StatusSource } from "./node-status.ts";
import { processMetrics } from "./process-metrics.ts";

export interface MetricsSource extends StatusSource {
  readonly measures: Measures;
  readonly files: MeasuredFiles;
}

const isTrue = (value: boolean): number => (value ? 1 : 0);
const seconds = (ms: number | null): number | null => (ms === null ? null : ms / 1000);

export function nodeMetrics(source: MetricsSource): Metric[] {
  const status = nodeStatus(source);
  return [
    ...processMetrics(source.clock.wallTime()),
    ...stateMetrics(status),
    ...shardMetrics(source, status.shards),
    ...peerMetrics(source, status),
    ...dataMetrics(source, status),
    ...workMetrics(source),
    ...fileMetrics(source.files),
  ];
}

function stateMetrics({ node, members, quorum, cluster, verified, progress }: NodeStatus): Metric[] {
  return [
    gauge("ready", "1 when the node is ready", isTrue(node.ready)),
    gauge("state", "1, with the state as label: ready, waiting or the name of a halt", [
      [{ state: node.state }, 1],
    ]),
    gauge("members", "members of the cluster", members.length),
    gauge(
      "members_connected",
      "members connected to this node, itself included",
      members.filter((m) => m.connected).length,
    ),
    gauge("voters", "voters of the cluster", quorum.voters),
    gauge("quorum_margin", "voters that may fail with a majority left; -1: no majority", quorum.mayLose),
    gauge("schema_version", "version of the cluster's schema", cluster.schemaVersion),
    gauge(
      "progress_done",
      "finished part of long work",
      progress === null ? [] : [[{ work: progress.work }, progress.done]],
    ),
    gauge(
      "progress_expected",
      "whole of long work; 0: unknown",
      progress === null ? [] : [[{ work: progress.work }, progress.total]],
    ),
    gauge("verify_timestamp_seconds", "time of the last verify on this node", [
      [{}, seconds(verified?.at ?? null)],
    ]),
    gauge("verify_equal", "1 when the last verify found no difference", [
      [{}, verified === null ? null : isTrue(verified.equal)],
    ]),
  ];
}

function shardMetrics({ measures }: MetricsSource, shards: readonly ShardStatus[]): Metric[] {
  const each = (of: (s: ShardStatus) => number): ReturnType<typeof labelled> =>
    labelled(shards, "shard", (s) => [String(s.shard), of(s)]);
  return [
    gauge(
      "term",
      "Raft term",
      each((s) => s.term),
    ),
    gauge(
      "commit_index",
      "Raft commit index",
      each((s) => s.commitIndex),
    ),
    gauge(
      "applied_index",
      "index that the replica contains",
      each((s) => s.appliedIndex),
    ),
    gauge(
      "leader",
      "1 on the leader",
      each((s) => isTrue(s.role === "leader")),
    ),
    gauge(
      "has_leader",
      "1 when this node knows a leader",
      each((s) => isTrue(s.leader !== "")),
    ),
    counter(
      "leader_changes_total",
      "leaders that this node has met",
      each((s) => measures.leaderChanges[s.shard] ?? 0),
    ),
    counter(
      "elections_total",
      "terms that began since the start of this node",
      each((s) => Math.max(0, s.term - (measures.firstTerms[s.shard] ?? s.term))),
    ),
  ];
}

function peerMetrics({ transport, peerId }: MetricsSource, { members }: NodeStatus): Metric[] {
  const peers = members.filter((m) => m.peerId !== peerId);
  const each = (of: (m: MemberStatus) => number | null): ReturnType<typeof labelled> =>
    labelled(peers, "peer", (m) => [m.name, of(m)]);
  const traffic = (m: MemberStatus): { sent: number; received: number } | null =>
    transport?.traffic?.(m.peerId as PeerId) ?? null;
  return [
    gauge(
      "peer_connected",
      "1 when the member is connected to this node",
      each((m) => isTrue(m.connected)),
    ),
    gauge(
      "peer_lag_entries",
      "entries that the member's replica lacks",
      each((m) => m.lagEntries),
    ),
    gauge(
      "peer_lag_seconds",
      "age of the oldest of them",
      each((m) => seconds(m.lagMs)),
    ),
    gauge(
      "peer_silence_seconds",
      "time since the member's last message",
      each((m) => seconds(m.lastSeenMs)),
    ),
    gauge(
      "peer_round_trip_seconds",
      "a ping to the member and back",
      each((m) => seconds(m.roundTripMs)),
    ),
    counter(
      "peer_sent_bytes_total",
      "bytes of messages to the member",
      each((m) => traffic(m)?.sent ?? null),
    ),
    counter(
      "peer_received_bytes_total",
      "bytes of messages of the member",
      each((m) => traffic(m)?.received ?? null),
    ),
  ];
}

function dataMetrics(
  { replicator }: MetricsSource,
  { pending, conflicts, tables, backups, feed, archive }: NodeStatus,
): Metric[] {
  const kinds = replicator?.replica.replica.journal.addedByKind ?? new Map<string, number>();
  return [
    gauge("pending_changes", "changed rows that are not acknowledged", pending.changes),
    gauge("pending_bytes", "bytes proposed and not yet committed", pending.bytes),
    gauge(
      "pending_oldest_seconds",
      "age of the oldest change that is not acknowledged",
      pending.oldestMs / 1000,
    ),
    gauge("conflicts", "conflicts in the journal", conflicts.total),
    gauge("conflicts_open", "conflicts that wait for a decision", conflicts.open),
    counter(
      "conflicts_recorded_total",
      "conflicts since the files were opened, by kind",
      labelled([...kinds], "kind", (one) => one),
    ),
    gauge("backup_last_seconds", "Unix time of the newest backup", [[{}, seconds(backups?.lastAt ?? null)]]),
    counter("backup_failures_total", "backups that failed", backups?.failures ?? 0),
    counter("feed_events_total", "events that the consumer of the change feed took", feed?.sent ?? 0),
    counter("feed_failures_total", "events that it did not take", feed?.failures ?? 0),
    ...archiveMetrics(archive),
    gauge("orphans", "references that concurrent writes left dangling", conflicts.orphans),
    gauge("replicated_tables", "tables that replicate", tables.replicated.length),
    gauge("skipped_tables", "tables that do not replicate", tables.skipped.length),
    gauge("held_tables", "tables that this node holds back", tables.held.length),
  ];
}

function workMetrics({ replicator, measures }: MetricsSource): Metric[] {
  const counters = replicator?.pipeline.counters();
  return [
    histogram(
      "commit_to_ordered_seconds",
      "from reading a commit of the application until it is ordered and in the replica",
      measures.commitToOrdered,
    ),
    histogram(
      "ordered_to_shown_seconds",
      "from the commit of an entry until the file shows it",
      measures.orderedToShown,
    ),
    histogram(
      "commit_to_shown_seconds",
      "from a commit on another node, by its clock, until this file shows it",
      measures.commitToShown,
    ),
    histogram("log_sync_seconds", "durable commits of the Raft log", measures.logSync),
    histogram("app_db_sync_seconds", "syncs of the application's file", measures.appDbSync),
    histogram(
      "write_lock_seconds",
      "write transactions of this node in the application's file",
      measures.writeLock,
    ),
    counter(
      "busy_waits_total",
      "write transactions that did not begin since the application held the lock",
      measures.busyWaits,
    ),
    counter(
      "reflections_total",
      "transactions that wrote replicated changes into the application's file",
      counters?.reflections ?? 0,
    ),
    counter("drained_rows_total", "changed rows proposed to the log", counters?.drainedRows ?? 0),
    counter(
      "log_transactions_total",
      "durable transactions of the Raft log",
      replicator?.log.transactions ?? 0,
    ),
    gauge("log_bytes", "size of the Raft log on disk", replicator?.log.size() ?? 0),
  ];
}
