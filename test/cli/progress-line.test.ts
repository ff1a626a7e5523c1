import { expect, test } from "bun:test";
import type { Logger } from "../../src/base/logger.ts";
import { silentLogger } from "../silent-logger.ts";
import { describe as show, ProgressLine } from "../../src/cli/output/progress-line.ts";
import type { ProgressStatus } from "../../src/operations/api.ts";

const rows = (done: number): ProgressStatus => ({
  work: "import",
  done,
  total: 1000,
  unit: "rows",
  remainingMs: 4000,
});

function lab(isTerminal: boolean, columns = 80) {
  const seen: string[] = [];
  let now = 0;
  const logger: Logger = { ...silentLogger, info: (m) => void seen.push(`log ${m}`) };
  const say = (t: string): void => void seen.push(`say ${t}`);
  const draw = (t: string): void => void seen.push(`draw ${t.replace("\r\u001b[K", "CLEAR ")}`);
  const line = new ProgressLine({ isTerminal, columns: () => columns, say, draw }, () => now);
  return {
    seen,
    line,
    at: (ms: number, progress: ProgressStatus | null): void => {
      now = ms;
      line.report(progress, logger);
    },
  };
}

test("a terminal has one line below the log, rewritten at most ten times a second", () => {
  const { seen, line, at } = lab(true);
  at(0, rows(1));
  at(50, rows(2));
  at(120, rows(250));
  line.say("a log line");
  at(130, null);
  line.say("another");
  expect(seen).toEqual([
    "draw CLEAR import: 1 of 1,000 rows (0 %), 4 s left",
    "draw CLEAR import: 250 of 1,000 rows (25 %), 4 s left",
    "draw CLEAR ",
    "say a log line",
    "draw import: 250 of 1,000 rows (25 %), 4 s left",
    "draw CLEAR ",
    "say another",
  ]);
});

test("the line never wraps", () => {
  const { seen, at } = lab(true, 20);
  at(0, rows(1));
  expect(seen).toEqual(["draw CLEAR import: 1 of 1,000 "]);
});

test("without a terminal: a log line every few seconds, and a last one when the work ends", () => {
  const { seen, at } = lab(false);
  for (let ms = 0; ms <= 11_000; ms += 500) at(ms, rows(ms / 20));
  at(11_200, null);
  expect(seen).toEqual([
    "log import: 50 of 1,000 rows (5 %), 4 s left",
    "log import: 300 of 1,000 rows (30 %), 4 s left",
    "log import: 550 of 1,000 rows (55 %), 4 s left",
    "log import: 550 of 1,000 rows (55 %), 4 s left",
  ]);
});

test("work that ends within a second is not logged", () => {
  const { seen, at } = lab(false);
  at(0, rows(1));
  at(900, rows(900));
  at(950, null);
  expect(seen).toEqual([]);
});

test("the text of a progress", () => {
  const bytes: ProgressStatus = {
    work: "snapshot",
    done: 1.25e9,
    total: 0,
    unit: "bytes",
    remainingMs: null,
  };
  expect(show(bytes)).toBe("snapshot: 1.3 GB");
  expect(show({ ...bytes, done: 2e6, total: 4e6, remainingMs: 600_000 })).toBe(
    "snapshot: 2.0 MB of 4.0 MB (50 %), 10 min left",
  );
  expect(show({ ...rows(1200), remainingMs: null })).toBe("import: 1,200 of 1,000 rows (100 %)");
});
