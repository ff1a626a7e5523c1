/** The input of a merge, and the parts of this node's changes that it must do without. */
import { foldName } from "../../base/names.ts";
import type { SchemaChange, SchemaState } from "../diff/change.ts";
import type { TableLineage } from "../diff/evolve.ts";

export interface Sides {
  readonly base: SchemaState;
  /** Ours: the schema of the app database, which `pending` makes of the base. */
  readonly appDb: SchemaState;
  readonly pending: readonly SchemaChange[];
  /** From the base to the app database. */
  readonly lineages: readonly TableLineage[];
  /** Theirs: the schema of the cluster. */
  readonly onto: SchemaState;
  /** From the base to the cluster's schema. */
  readonly theirLineages: readonly TableLineage[];
}

/** Parts of ours that are rejected because the merged schema does not work with them, each with its reason. */
export interface RejectedParts {
  /** Tables of the base, in lower case. */
  readonly tables: Map<string, string>;
  /** By `keyOf`, in common names. */
  readonly objects: Map<string, string>;
}

/** Our lineage of a table of the base, named in lower case; undefined: we did not change the table. */
export const lineageOf = ({ lineages }: Sides, base: string): TableLineage | undefined =>
  lineages.find((l) => l.from !== null && foldName(l.from) === base);
