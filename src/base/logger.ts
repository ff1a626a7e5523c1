/** A scoped logger, passed down. The pure rooms do not log. */

export type LogLevel = "debug" | "info" | "warn" | "error";
export type LogFields = Readonly<Record<string, unknown>>;

export interface Logger {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  /** A logger whose lines carry `scope`. */
  child(scope: string): Logger;
}

const RANK: Record<LogLevel, number> = { debug: 0, info: 1, warn: 2, error: 3 };

export interface LoggerOptions {
  readonly level: LogLevel;
  readonly format: "text" | "json";
  /** Receives one line without its newline. */
  readonly write: (line: string) => void;
  /** Milliseconds since 1970, for the line's time stamp. */
  readonly wallTime: () => number;
}

function value(v: unknown): string {
  if (v instanceof Error) return JSON.stringify(v.message);
  if (typeof v === "string") return /[\s"=]/.test(v) || v === "" ? JSON.stringify(v) : v;
  return JSON.stringify(v, (_key, x: unknown) => (typeof x === "bigint" ? x.toString() : x)) ?? "undefined";
}

export function createLogger(options: LoggerOptions, scope = ""): Logger {
  const write = (level: LogLevel, message: string, fields: LogFields = {}): void => {
    if (RANK[level] < RANK[options.level]) return;
    const time = new Date(options.wallTime()).toISOString();
    if (options.format === "json") {
      const plain = Object.fromEntries(
        Object.entries(fields).map(([k, v]) => [
          k,
          v instanceof Error ? v.message : typeof v === "bigint" ? v.toString() : v,
        ]),
      );
      options.write(JSON.stringify({ time, level, ...(scope ? { scope } : {}), message, ...plain }));
      return;
    }
    const tail = Object.entries(fields).map(([k, v]) => ` ${k}=${value(v)}`);
    options.write(`${time} ${level.padEnd(5)} ${scope ? `${scope}: ` : ""}${message}${tail.join("")}`);
  };
  return {
    debug: (m, f) => write("debug", m, f),
    info: (m, f) => write("info", m, f),
    warn: (m, f) => write("warn", m, f),
    error: (m, f) => write("error", m, f),
    child: (inner) => createLogger(options, scope ? `${scope}/${inner}` : inner),
  };
}
