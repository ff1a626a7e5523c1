/** The verdict on one table of a schema. */

/** "local": every node builds and keeps its own out of replicated tables. "held": a member holds it back. */
export type Verdict = "replicates" | "care" | "refused" | "skipped" | "local" | "held";

export interface ClassifiedTable {
  readonly name: string;
  readonly verdict: Verdict;
  /** In a sentence; "" for a table that replicates without care. */
  readonly reason: string;
  readonly hint: string;
  /** The hint for a table that replicates already, or stays on its node: it cannot be left out any more. */
  readonly fix?: string;
}

export const replicates = ({ verdict }: ClassifiedTable): boolean =>
  verdict === "replicates" || verdict === "care";

/** `hint`: in parts, of which the last one says how to leave the table out. */
export const refused = (name: string, reason: string, fix: string, leaveOut = ""): ClassifiedTable => ({
  name,
  verdict: "refused",
  reason,
  hint: leaveOut === "" ? fix : `${fix}, ${leaveOut}`,
  fix,
});

/** Of a table without AUTOINCREMENT. */
export const PICKED_IDS =
  "SQLite picks its ids; two nodes that insert at the same time may pick the same one, and the later row wins";
