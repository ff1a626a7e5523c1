/**
 * A case: a schema and a sequence of transactions, as plain SQL. Every node must end with the contents of a plain
 * file.
 */
import type { ForeignKeyMode, MergeMode } from "../../src/replica/store/settings.ts";

/** Cluster settings that must make no difference when nothing happens at the same time. */
export interface CaseSettings {
  readonly shards: number;
  readonly transactions: "whole" | "row";
  readonly merge: MergeMode;
  readonly foreignKeys: ForeignKeyMode;
  readonly idBlock: number;
}

export interface Step {
  /** The node on which it happens; "all": on each. The plain file gets it once. */
  readonly node: number | "all";
  /** Begins when everything before it is shown everywhere; else at once, on the node that wrote last. */
  readonly settled: boolean;
  /**
   * One statement each, on the one connection of the node. A failure must occur in the plain file with the same
   * message.
   */
  readonly sql: readonly string[];
}

export interface Case {
  readonly seed: number;
  readonly encoding: "UTF-8" | "UTF-16le" | "UTF-16be";
  readonly settings: CaseSettings;
  /** Makes the schema and its first rows, before the cluster is formed. */
  readonly schema: readonly string[];
  readonly steps: readonly Step[];
  /** Rowids that SQLite picks are the same everywhere: `last_insert_rowid()` is compared, too. */
  readonly rowids: boolean;
  /** The nodes have the function of the applications. Absent: they do not. */
  readonly functions?: boolean;
  /** Words to look for in full-text indexes. */
  readonly words: readonly string[];
}

/** A kept case that failed in the past, with a line about the bug. */
export interface KeptCase {
  readonly found: string;
  readonly case: Case;
}

export const NODES = 3;

/** Numbers of the nodes on which a step happens. */
export const nodesOf = ({ node }: Step): number[] =>
  node === "all" ? Array.from({ length: NODES }, (_, i) => i) : [node];

/** Whether a step changes the schema. */
export const migrates = ({ sql }: Step): boolean => sql.some((text) => /^(?:CREATE|ALTER|DROP)\b/.test(text));
