/** What a run of a case came to. */
export interface Verdict {
  /** Empty: the nodes did what a plain file does. */
  readonly problems: readonly string[];
  /** Why the file cannot be replicated, where it cannot: nothing was run. */
  readonly refused: string | null;
}
