/** Metrics of the process, which are there from its first second. */
import { readdirSync } from "node:fs";
import { COMMIT, VERSION } from "../../base/version.ts";
import { ownVersion, showVersion } from "../../sqlite/versions/sqlite-version.ts";
import type { Metric } from "../api.ts";
import { counter, gauge } from "./metric.ts";

const OWN_FDS = "/proc/self/fd";

function openFiles(): number | null {
  try {
    return readdirSync(OWN_FDS).length;
  } catch {
    return null; // not Linux
  }
}

export function processMetrics(wallTime: number): Metric[] {
  const { user, system } = process.cpuUsage();
  const labels = { version: VERSION, commit: COMMIT, bun: Bun.version, sqlite: showVersion(ownVersion()) };
  return [
    gauge("build_info", "1, with the versions as labels", [[labels, 1]]),
    counter("process_cpu_seconds_total", "CPU time of user and system", (user + system) / 1e6),
    gauge("process_resident_memory_bytes", "resident memory", process.memoryUsage.rss()),
    gauge(
      "process_start_time_seconds",
      "start of the process since 1970",
      wallTime / 1000 - process.uptime(),
    ),
    gauge("process_open_fds", "open file descriptors", [[{}, openFiles()]]),
  ];
}

/** Before the node has taken its data directory. */
export const earlyMetrics = (wallTime: number): Metric[] => [
  ...processMetrics(wallTime),
  gauge("ready", "1 when the node is ready", 0),
];
