/** What a verb may touch of the process: handed in, so that tests can hand in theirs. */

export interface CliContext {
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly readFile: (path: string) => string;
  /** Results: a line, or several, on standard output. */
  readonly print: (text: string) => void;
  /** Messages: a line, or several, on standard error. */
  readonly say: (text: string) => void;
  /** Progress: as it is, on standard error, which is a terminal then. */
  readonly draw: (text: string) => void;
  /** Whether a person looks at standard error. */
  readonly isTerminal: boolean;
  /** Width of the terminal, in characters. */
  readonly columns: () => number;
  readonly hostName: string;
  /** How this program is started again, for `demo`. */
  readonly command: readonly string[];
  /**
   * Resolves at the first SIGINT or SIGTERM; the second ends the process at once. Until the first call signals end the
   * process as they do by default, which is right for every verb that has nothing to put away.
   */
  readonly interrupted: () => Promise<void>;
  /** Called when the process ends, also at once; it must not wait for anything. */
  readonly atExit: (run: () => void) => void;
}
