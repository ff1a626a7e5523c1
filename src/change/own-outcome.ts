/** The replica's answer to one of this node's own batches, for the outbox. */
export interface OwnOutcome {
  readonly shard: number;
  readonly incarnation: number;
  readonly csn: number;
  readonly part: number;
  /** "redirect": taken, but some rows got other rowids than their own, which ends the incarnation. */
  readonly verdict: "take" | "redirect" | "stage" | "refuse";
}
