/** Long work while it goes on: one line that is rewritten on a terminal, a log line now and then elsewhere. */
import type { Logger } from "../base/logger.ts";
import type { ProgressStatus } from "../node/api.ts";
import type { CliContext } from "./context.ts";

const TERMINAL_MS = 100;
const LOG_MS = 5000;

const size = (bytes: number): string =>
  bytes >= 1e9 ? `${(bytes / 1e9).toFixed(1)} GB` : `${(bytes / 1e6).toFixed(1)} MB`;

export function describe({ work, done, total, unit, remainingMs }: ProgressStatus): string {
  const show = (n: number): string => (unit === "bytes" ? size(n) : n.toLocaleString("en"));
  const of = total > 0 ? ` of ${show(total)} (${Math.floor((done / total) * 100)} %)` : "";
  const left = remainingMs === null ? "" : `, ${Math.ceil(remainingMs / 1000)} s left`;
  return `${work}: ${show(done)}${of} ${unit === "bytes" ? "" : unit}${left}`.trimEnd();
}

export function progressLine(
  context: CliContext,
  logger: Logger,
  now: () => number,
): (progress: ProgressStatus | null) => void {
  let shownAt = now();
  let shown = false;
  return (progress) => {
    if (progress === null) {
      if (shown && context.isTerminal) context.say("\r\u001b[K");
      shown = false;
      return;
    }
    if (now() - shownAt < (context.isTerminal ? TERMINAL_MS : LOG_MS)) return;
    shownAt = now();
    shown = true;
    if (context.isTerminal) context.say(`\r\u001b[K${describe(progress)}`);
    else logger.info(describe(progress));
  };
}
