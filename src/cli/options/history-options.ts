/** Options of `run` about the past: backups, the history, and the webhook of the change feed. */
import type { NodeOptions } from "../../node/options.ts";
import type { Problem } from "../output/problem.ts";
import type { OptionSpec } from "./option-value.ts";
import type { Options } from "./options.ts";

const SHORTEST_MS = 1000;
const BACKUP_EVERY_MS = 3_600_000;
const MB = 1 << 20;
/** Kept without `--history`. */
const HISTORY_BYTES = 256 * MB;

/** `64MB`, `1GB` or `off`; null: neither. */
function parseSize(given: string): number | null {
  if (given === "off") return 0;
  const match = /^([1-9]\d{0,5})(MB|GB)$/i.exec(given);
  if (match === null) return null;
  return Number(match[1]) * (match[2]!.toUpperCase() === "GB" ? 1024 * MB : MB);
}

export const HISTORY_OPTIONS: readonly OptionSpec[] = [
  {
    ...{ name: "backup-to", type: "text", value: "DEST", help: "backups; ", example: "/backups/" },
    check: (given) => (given.endsWith("/") ? null : "a folder or prefix that ends with /"),
  },
  {
    ...{ name: "backup-every", type: "duration", value: "T", help: "1h; ", joined: true },
    ...{ minimum: SHORTEST_MS, example: "1h" },
  },
  {
    ...{ name: "backup-keep", type: "duration", value: "T", help: "all", joined: true },
    ...{ minimum: SHORTEST_MS, example: "7d" },
  },
  {
    ...{ name: "history", type: "text", value: "SIZE", help: "undo, feed (256MB); " },
    example: "256MB",
    check: (given) => (parseSize(given) === null ? "a size such as 64MB or 1GB, or off" : null),
  },
  {
    ...{ name: "feed-to", type: "text", value: "URL", help: "", joined: true },
    example: "http://127.0.0.1:8080/changes",
    check: (given) => (/^https?:\/\/\S+$/.test(given) && URL.canParse(given) ? null : "an http or https URL"),
  },
  {
    ...{ name: "feed-secret-file", type: "text", value: "F", help: "webhook", joined: true },
    example: "feed.secret",
  },
];

export function historySettings(options: Options): Pick<NodeOptions, "backups" | "historyBytes" | "feed"> {
  const [to, url] = [options["backup-to"], options["feed-to"]] as (string | undefined)[];
  return {
    backups:
      to === undefined
        ? null
        : {
            to,
            everyMs: (options["backup-every"] as number | undefined) ?? BACKUP_EVERY_MS,
            keepMs: (options["backup-keep"] as number | undefined) ?? null,
          },
    historyBytes: parseSize((options.history as string | undefined) ?? "") ?? HISTORY_BYTES,
    feed:
      url === undefined
        ? null
        : { url, secretFile: (options["feed-secret-file"] as string | undefined) ?? null },
  };
}

/** Options that need another one. */
export function incomplete(options: Options): readonly Problem[] {
  const problems: Problem[] = [];
  const given = ["backup-every", "backup-keep"].filter((name) => options[name] !== undefined);
  if (given.length > 0 && options["backup-to"] === undefined)
    problems.push({
      message: `--${given.join(" and --")} belongs to --backup-to, which is not given`,
      hint: "also give --backup-to DIR/ or s3://BUCKET/PREFIX/",
    });
  if (options["feed-secret-file"] !== undefined && options["feed-to"] === undefined)
    problems.push({
      message: "--feed-secret-file belongs to --feed-to, which is not given",
      hint: "also give --feed-to URL",
    });
  if (options["feed-to"] !== undefined && options.history === "off")
    problems.push({ message: "--feed-to needs the history, which is off", hint: "leave --history out" });
  return problems;
}
