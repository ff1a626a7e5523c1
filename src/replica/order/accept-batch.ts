/**
 * Whether a batch continues what was last taken from its origin in its shard. Pure, and the same on every node: a batch
 * may therefore be proposed twice, and nothing is applied twice.
 */

export interface OriginMemory {
  readonly incarnation: number;
  /** csn of the last changeset taken whole. */
  readonly csn: number;
  /** A batch of this incarnation was refused: nothing more of it is taken. */
  readonly ended: boolean;
  /** Parts staged of the changeset after `csn`. */
  readonly stagedParts: number;
}

export const NO_MEMORY: OriginMemory = { incarnation: 0, csn: 0, ended: false, stagedParts: 0 };

export interface AcceptedBatch {
  readonly incarnation: number;
  readonly csn: number;
  readonly part: number;
  readonly parts: number;
  readonly previousCsn: number;
}

export type Verdict =
  /** Takes effect now. */
  | "take"
  /** A part that waits for its last. */
  | "stage"
  /** Repeated, overtaken or of an older incarnation: nothing happens. */
  | "ignore"
  /** In order, but made under a schema that has changed since where it matters: ends the incarnation. */
  | "refuse";

/** `stale`: it was made under a schema that has changed since in what it touches. */
export function acceptBatch(memory: OriginMemory, batch: AcceptedBatch, stale: boolean): Verdict {
  if (batch.incarnation < memory.incarnation) return "ignore";
  if (batch.incarnation > memory.incarnation)
    return batch.previousCsn === 0 && batch.part === 1 && batch.parts === 1 ? "take" : "ignore";
  if (memory.ended || batch.previousCsn !== memory.csn || batch.csn <= memory.csn) return "ignore";
  if (batch.part !== memory.stagedParts + 1) return "ignore";
  if (stale) return "refuse";
  return batch.part === batch.parts ? "take" : "stage";
}

/** The memory of a shard that an entry of shard 0 touched: the entry is the last of its chain, in no older incarnation. */
export function joined(
  memory: OriginMemory,
  batch: Pick<AcceptedBatch, "incarnation" | "csn">,
): OriginMemory {
  const { incarnation, csn } = batch;
  if (incarnation < memory.incarnation) return memory;
  if (incarnation > memory.incarnation) return { incarnation, csn, ended: false, stagedParts: 0 };
  return csn > memory.csn ? { ...memory, csn, stagedParts: 0 } : memory;
}
