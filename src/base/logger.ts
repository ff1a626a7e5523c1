/** A scoped logger, passed down. The pure rooms do not log. */

import { visible } from "./visible.ts";

export type LogLevel = "debug" | "info" | "warn" | "error";
export type LogFields = Readonly<Record<string, unknown>>;

export interface Logger {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  /** A turn in the life of node or cluster: a line of the log, and an entry in the list of the last events. */
  event(kind: EventKind, message: string, fields?: LogFields, level?: EventLevel): void;
  /** A logger whose lines carry `scope`. */
  child(scope: string): Logger;
}

export type EventLevel = "info" | "warn" | "error";

/** Subjects of events: scripts and the page select by them. */
export type EventKind =
  | "ready"
  | "leader"
  | "peer"
  | "refused"
  | "member"
  | "snapshot"
  | "schema"
  | "conflict"
  | "disk"
  | "file"
  | "halt"
  | "verify"
  | "archive"
  | "backup";

export interface LoggedEvent {
  /** Milliseconds since 1970. */
  readonly time: number;
  readonly level: EventLevel;
  readonly kind: EventKind;
  readonly message: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

const RANK: Record<LogLevel, number> = { debug: 0, info: 1, warn: 2, error: 3 };

export interface LoggerOptions {
  readonly level: LogLevel;
  readonly format: "text" | "json";
  /** Receives one line without its newline. */
  readonly write: (line: string) => void;
  /** Milliseconds since 1970, for the line's time stamp. */
  readonly wallTime: () => number;
  /** Receives each event, whatever the level of the log is. */
  readonly onEvent?: (event: LoggedEvent) => void;
}

function value(v: unknown): string {
  if (v instanceof Error) return JSON.stringify(v.message);
  if (typeof v === "string") return /[\s"=]/.test(v) || v === "" ? JSON.stringify(v) : v;
  return JSON.stringify(v, (_key, x: unknown) => (typeof x === "bigint" ? x.toString() : x)) ?? "undefined";
}

/** Fields of an event that a text log shows behind the message. */
const TOLD_FIELDS: readonly string[] = [
  "hint",
  "error",
  "address",
  "file",
  "cluster",
  "table",
  "rows",
  "bytes",
];

/** As JSON takes them. */
const plainFields = (fields: LogFields): Record<string, unknown> =>
  Object.fromEntries(
    Object.entries(fields).map(([k, v]) => [
      k,
      v instanceof Error ? v.message : typeof v === "bigint" ? v.toString() : v,
    ]),
  );

export function createLogger(options: LoggerOptions, scope = ""): Logger {
  const write = (level: LogLevel, message: string, fields: LogFields = {}, kind?: EventKind): void => {
    if (RANK[level] < RANK[options.level]) return;
    const time = new Date(options.wallTime()).toISOString();
    if (options.format === "json") {
      const head = {
        time,
        level,
        ...(scope ? { scope } : {}),
        ...(kind === undefined ? {} : { event: kind }),
      };
      options.write(visible(JSON.stringify({ ...head, message, ...plainFields(fields) })));
      return;
    }
    // The message of an event has its figures; only these say more.
    const more = Object.entries(fields).filter(([k]) => kind === undefined || TOLD_FIELDS.includes(k));
    const tail = more.map(([k, v]) => ` ${k}=${value(v)}`);
    const line = `${time} ${level.padEnd(5)} ${scope ? `${scope}: ` : ""}${message}${tail.join("")}`;
    options.write(visible(line));
  };
  return {
    debug: (m, f) => write("debug", m, f),
    info: (m, f) => write("info", m, f),
    warn: (m, f) => write("warn", m, f),
    error: (m, f) => write("error", m, f),
    event: (kind, m, f = {}, level = "info") => {
      write(level, m, f, kind);
      options.onEvent?.({ time: options.wallTime(), level, kind, message: m, fields: plainFields(f) });
    },
    child: (inner) => createLogger(options, scope ? `${scope}/${inner}` : inner),
  };
}
