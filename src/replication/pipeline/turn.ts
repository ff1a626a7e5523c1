/** What a turn of a node's pipeline is: a bounded slice of work, and when to come back. */

/** Milliseconds of work after which a slice ends, so that heartbeats and the application get their turn. */
export const SLICE_MS = 5;

/** What a turn leaves: call again at once, after some milliseconds, or when something happens. */
export type TurnResult =
  { readonly again: "now" | "never" } | { readonly again: "later"; readonly ms: number };
