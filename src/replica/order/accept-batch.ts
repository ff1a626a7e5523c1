/**
 * Batch acceptance: whether a batch continues the last changeset taken from its origin in its shard. Pure, with the same
 * result on every node: so a batch may be proposed twice, and is applied once.
 */

export interface OriginMemory {
  readonly incarnation: number;
  /** csn of the last changeset that was taken. */
  readonly csn: number;
  /** A batch of this incarnation was refused: no more of it is taken. */
  readonly ended: boolean;
  /** Number of staged parts of the changeset after `csn`. */
  readonly stagedParts: number;
}

export const NO_MEMORY: OriginMemory = { incarnation: 0, csn: 0, ended: false, stagedParts: 0 };

interface AcceptedBatch {
  readonly incarnation: number;
  readonly csn: number;
  readonly part: number;
  readonly parts: number;
  readonly previousCsn: number;
}

export type Verdict =
  /** It is applied now. */
  | "take"
  /** A part that waits for the last part of its changeset. */
  | "stage"
  /** Repeated, out of order, or of an older incarnation: no effect. */
  | "ignore"
  /** In order, but made under an older schema of a table that it touches: ends the incarnation. */
  | "refuse";

/** `stale`: the schema of a table that the batch touches has changed since the batch was made. */
export function acceptBatch(memory: OriginMemory, batch: AcceptedBatch, stale: boolean): Verdict {
  if (batch.incarnation < memory.incarnation) return "ignore";
  if (batch.incarnation > memory.incarnation)
    return batch.previousCsn === 0 && batch.part === 1 && batch.parts === 1 ? "take" : "ignore";
  if (memory.ended || batch.previousCsn !== memory.csn || batch.csn <= memory.csn) return "ignore";
  if (batch.part !== memory.stagedParts + 1) return "ignore";
  if (stale) return "refuse";
  return batch.part === batch.parts ? "take" : "stage";
}

/** The memory of a shard that a taken entry of shard 0 names: the entry becomes the origin's last changeset there. */
export function joined(
  memory: OriginMemory,
  batch: Pick<AcceptedBatch, "incarnation" | "csn">,
): OriginMemory {
  const { incarnation, csn } = batch;
  if (incarnation < memory.incarnation) return memory;
  if (incarnation > memory.incarnation) return { incarnation, csn, ended: false, stagedParts: 0 };
  return csn > memory.csn ? { ...memory, csn, stagedParts: 0 } : memory;
}
