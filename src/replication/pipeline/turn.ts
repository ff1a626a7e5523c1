/** A turn of a node's pipeline: a bounded slice of work, and the time of the next turn. */

/** Milliseconds of work after which a slice ends, so that heartbeats and the application get their turn. */
export const SLICE_MS = 5;

/** When the next turn is due: at once, after some milliseconds, or when something happens. */
export type TurnResult =
  { readonly again: "now" | "never" } | { readonly again: "later"; readonly ms: number };
