/** This node's schema changes put on top of what the cluster decided meanwhile. */
import type { LostChange, SchemaChange, SchemaState } from "./change.ts";

export interface RebaseInput {
  /** What the live file last reflected. */
  readonly base: SchemaState;
  /** What led from there to the live file as it is. */
  readonly pending: readonly SchemaChange[];
  /** What the cluster's schema is now. */
  readonly onto: SchemaState;
  /** What led from `base` to `onto`; without it a rename is taken for a drop and a create. */
  readonly theirs?: readonly SchemaChange[];
}

export interface Rebased {
  /** What is still to be done on top of `onto`. */
  readonly changes: readonly SchemaChange[];
  /** What the live file must become: `onto` with `changes` on top. */
  readonly target: SchemaState;
  /** From the live file as it is to `target`. */
  readonly live: readonly SchemaChange[];
  readonly lost: readonly LostChange[];
}

export function rebaseChanges(input: RebaseInput): Rebased {
  throw new Error(`to come: ${input.pending.length}`);
}
