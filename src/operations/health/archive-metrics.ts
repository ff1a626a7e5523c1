/** Metrics of the archive. */
import type { Metric } from "../api.ts";
import type { ArchiveStatus } from "../archive-api.ts";
import { counter, gauge } from "./metric.ts";

const seconds = (ms: number | null): number | null => (ms === null ? null : ms / 1000);

export function archiveMetrics(archive: ArchiveStatus | null): Metric[] {
  const drill = archive?.drill ?? null;
  return [
    gauge(
      "archive_up",
      "1 while entries are shipped to the archive, by this node or another; absent without one",
      [[{}, archive === null ? null : Number(archive.state === "shipping" || archive.state === "standby")]],
    ),
    gauge("archive_shipping", "1 on the node that ships", Number(archive?.state === "shipping")),
    gauge(
      "archive_behind_entries",
      "applied entries that are not in the archive",
      archive?.behindEntries ?? 0,
    ),
    gauge(
      "archive_behind_seconds",
      "for how long the oldest of them has waited",
      (archive?.behindMs ?? 0) / 1000,
    ),
    counter("archive_links_total", "links that this node added to the archive", archive?.shipped ?? 0),
    counter("archive_bytes_total", "bytes of these links", archive?.bytes ?? 0),
    counter("archive_snapshots_total", "copies of the replica that this node sent", archive?.snapshots ?? 0),
    counter("archive_failures_total", "attempts that failed", archive?.failures ?? 0),
    gauge("archive_drill_timestamp_seconds", "Unix time of the last restore drill on this node", [
      [{}, seconds(drill?.at ?? null)],
    ]),
    gauge("archive_drill_ok", "1 when it restored the rows that the cluster had", [
      [{}, drill === null ? null : Number(drill.ok)],
    ]),
    gauge("archive_drill_duration_seconds", "how long it took", [[{}, seconds(drill?.ms ?? null)]]),
  ];
}
