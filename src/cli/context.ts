/** What a verb may touch of the process: handed in, so that tests can hand in theirs. */

export interface CliContext {
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly readFile: (path: string) => string;
  /** Results: standard output. */
  readonly print: (text: string) => void;
  /** Messages and progress: standard error. */
  readonly say: (text: string) => void;
  readonly isTerminal: boolean;
  readonly hostName: string;
  /** How this program is started again, for `demo`. */
  readonly command: readonly string[];
  /** Resolves at the first SIGINT or SIGTERM; the second ends the process at once. */
  readonly interrupted: Promise<void>;
}
