/** Sizes of a node's files, and the free space of their disks. */
import { statfsSync, statSync } from "node:fs";
import { dirname } from "node:path";
import type { Metric } from "../api.ts";
import { gauge } from "./metric.ts";

export interface MeasuredFiles {
  readonly appDb: string;
  readonly replica: string;
  readonly log: string;
}

const sizeOf = (path: string): number | null => statSync(path, { throwIfNoEntry: false })?.size ?? null;

/** null: it cannot be told, such as before the folder exists. */
export function freeBytes(path: string): number | null {
  try {
    const { bavail, bsize } = statfsSync(dirname(path));
    return bavail * bsize;
  } catch {
    return null;
  }
}

export function fileMetrics({ appDb, replica, log }: MeasuredFiles): Metric[] {
  const files = [
    ["app-db", appDb],
    ["replica", replica],
    ["log", log],
  ] as const;
  const sized = (suffix: string): (readonly [{ file: string }, number | null])[] =>
    files.map(([file, path]) => [{ file }, sizeOf(path + suffix)]);
  return [
    gauge("file_bytes", "size of a database file", sized("")),
    gauge("wal_bytes", "size of a write-ahead log", sized("-wal")),
    gauge("free_disk_bytes", "free space on the disk of a file", [
      [{ file: "app-db" }, freeBytes(appDb)],
      [{ file: "replica" }, freeBytes(replica)],
    ]),
  ];
}
