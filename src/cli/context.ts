/** The parts of the process that a verb may use. Tests pass their own. */
import type { Colors } from "./output/color.ts";

export interface CliContext {
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly readFile: (path: string) => string;
  /** Results: one or more lines on standard output. */
  readonly print: (text: string) => void;
  /** Clears the terminal before the next results. Absent: they follow the last ones. */
  readonly clear?: () => void;
  /** Messages: one or more lines on standard error. */
  readonly say: (text: string) => void;
  /** The answer to a question, in lower case; null: there is no terminal to ask. */
  readonly ask: (question: string) => string | null;
  /** Progress: written unchanged to standard error. Used only when that is a terminal. */
  readonly draw: (text: string) => void;
  /** Whether standard error is a terminal. */
  readonly isTerminal: boolean;
  /** Whether colours are used. Before `--color` is read: whether the two are terminals and NO_COLOR is not set. */
  readonly colors: Colors;
  /** Width of the terminal, in characters. */
  readonly columns: () => number;
  readonly hostName: string;
  /** The command that starts this program, for `demo`. */
  readonly command: readonly string[];
  /**
   * Resolves at the first SIGINT or SIGTERM; the second ends the process at once. Before this is called, a signal ends the
   * process as by default, which is right for each verb that has nothing to clean up.
   */
  readonly interrupted: () => Promise<void>;
  /** `run` is called when the process ends, also after a second signal. It must be synchronous. */
  readonly atExit: (run: () => void) => void;
}
