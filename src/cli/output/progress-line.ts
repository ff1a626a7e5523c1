/**
 * Progress of long work. On a terminal: one line below the log lines that is rewritten. Elsewhere: a log line every few
 * seconds.
 */
import type { Logger } from "../../base/logger.ts";
import type { ProgressStatus } from "../../operations/api.ts";
import { describeProgress } from "../../replication/machine/work-progress.ts";
import type { CliContext } from "../context.ts";

const TERMINAL_MS = 100;
/** Work that ends before this is not logged. */
const FIRST_LOG_MS = 1000;
const LOG_MS = 5000;

const CLEAR = "\r\u001b[K";

export const describe = (progress: ProgressStatus): string =>
  `${progress.work}: ${describeProgress(progress)}`;

export class ProgressLine {
  readonly #context: Pick<CliContext, "isTerminal" | "columns" | "say" | "draw">;
  readonly #now: () => number;
  /** The text on the terminal's last line; "": none. */
  #shown = "";
  #work = "";
  #last: ProgressStatus | null = null;
  #nextAt = 0;
  #logged = false;

  constructor(context: Pick<CliContext, "isTerminal" | "columns" | "say" | "draw">, now: () => number) {
    this.#context = context;
    this.#now = now;
  }

  /** Writes a log line above the progress. */
  say(line: string): void {
    const { say, draw } = this.#context;
    if (this.#shown === "") return say(line);
    draw(CLEAR);
    say(line);
    draw(this.#shown);
  }

  report(progress: ProgressStatus | null, logger: Logger): void {
    const { isTerminal, columns, draw } = this.#context;
    if (progress === null) {
      if (this.#shown !== "") draw(CLEAR);
      if (this.#logged && this.#last !== null) logger.info(describe(this.#last));
      this.#shown = this.#work = "";
      this.#last = null;
      this.#logged = false;
      return;
    }
    const now = this.#now();
    if (progress.work !== this.#work) {
      this.#work = progress.work;
      this.#nextAt = now + (isTerminal ? 0 : FIRST_LOG_MS);
    }
    this.#last = progress;
    if (now < this.#nextAt) return;
    this.#nextAt = now + (isTerminal ? TERMINAL_MS : LOG_MS);
    if (isTerminal) {
      // A wrapped line could not be erased.
      this.#shown = describe(progress).slice(0, columns() - 1);
      draw(CLEAR + this.#shown);
    } else {
      this.#logged = true;
      logger.info(describe(progress));
    }
  }
}
