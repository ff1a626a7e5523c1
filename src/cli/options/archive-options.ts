/** Options about the archive: where it is, its key, and how `run` ships to it. */
import { resolve } from "node:path";
import { parseDuration } from "../../base/duration.ts";
import type { NodeOptions } from "../../node/options.ts";
import type { Problem } from "../output/problem.ts";
import type { OptionSpec } from "./option-value.ts";
import type { Options } from "./options.ts";

const SHORTEST_MS = 100;
const INTERVAL_MS = 1000;
/** Of `--archive-keep` by time. */
const SHORTEST_KEEP_MS = 1000;

/** A folder has no other form than a path. */
const checkPlace = (given: string): string | null =>
  !given.includes("://") || /^s3:\/\/[^/]+\/.+$/.test(given) ? null : "DIR or s3://BUCKET/PREFIX";

/** `30d`: every moment of the last 30 days; `20`: from the last 20 snapshots on. null: neither. */
export function parseKeep(
  given: string,
): { readonly ms: number | null; readonly snapshots: number | null } | null {
  if (/^[1-9]\d{0,5}$/.test(given)) return { ms: null, snapshots: Number(given) };
  const ms = parseDuration(given);
  return ms === null || ms < SHORTEST_KEEP_MS ? null : { ms, snapshots: null };
}

const checkKeep = (given: string): string | null =>
  parseKeep(given) === null ? "a duration such as 30d, or a number of snapshots" : null;

export const ARCHIVE_OPTION: OptionSpec = {
  ...{ name: "archive", type: "text", value: "DEST", help: "the archive: DIR or s3://BUCKET/PREFIX" },
  ...{ example: "/archive/app", check: checkPlace },
};
export const ARCHIVE_KEY_OPTION: OptionSpec = {
  ...{ name: "archive-key", type: "text", value: "FILE", help: "its key, if it is encrypted" },
  example: "archive.key",
};
export const ARCHIVE_KEEP_OPTION: OptionSpec = {
  ...{ name: "archive-keep", type: "text", value: "KEEP", help: "30d, or a number of snapshots" },
  ...{ example: "30d", check: checkKeep },
};

/** Of `run`. */
export const ARCHIVE_OPTIONS: readonly OptionSpec[] = [
  { ...ARCHIVE_OPTION, help: "every moment, in DIR or s3://…; " },
  {
    ...{ name: "archive-interval", type: "duration", value: "T", help: "1s; ", joined: true },
    ...{ minimum: SHORTEST_MS, example: "1s" },
  },
  { ...ARCHIVE_KEEP_OPTION, help: "30d, 20 snapshots (all); ", joined: true },
  { ...ARCHIVE_KEY_OPTION, help: "encrypts it", joined: true },
];

export function archiveSettings(options: Options): Pick<NodeOptions, "archive"> {
  const [to, keep, keyFile] = ["archive", "archive-keep", "archive-key"].map(
    (name) => options[name] as string | undefined,
  );
  if (to === undefined) return { archive: null };
  return {
    archive: {
      // Other commands ask the node for them, in other folders.
      to: to.includes("://") ? to : resolve(to),
      intervalMs: (options["archive-interval"] as number | undefined) ?? INTERVAL_MS,
      keep: (keep === undefined ? null : parseKeep(keep)) ?? { ms: null, snapshots: null },
      keyFile: keyFile === undefined ? null : resolve(keyFile),
    },
  };
}

export function archiveProblems(options: Options): readonly Problem[] {
  const given = ["archive-interval", "archive-keep", "archive-key"].filter(
    (name) => options[name] !== undefined,
  );
  if (given.length === 0 || options.archive !== undefined) return [];
  return [
    {
      message: `--${given.join(" and --")} belongs to --archive, which is not given`,
      hint: "also give --archive DIR or s3://BUCKET/PREFIX",
    },
  ];
}
