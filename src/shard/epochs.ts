/**
 * The epochs of a cluster. A cluster whose majority is lost for good is recovered on one member: that member begins a new
 * epoch with itself as the only voter. Members of an earlier epoch must not go on when they meet a later one. Pure.
 *
 * Each epoch is signed with the key of the node that began it, so any node can pass it on: also members that joined
 * later, and nodes that an earlier epoch has halted.
 */
import type { LogIndex, PeerId } from "../base/ids.ts";

export interface Epoch {
  /** From 1; the epoch of a cluster that was never recovered is 0 and has no record. */
  readonly number: number;
  /** Random: two members may begin an epoch of the same number without knowing of each other. */
  readonly id: string;
  /** The node that began it. */
  readonly by: PeerId;
  /** Per shard, the index of its first entry. */
  readonly starts: readonly LogIndex[];
  /** Of `signedText`, in base64. */
  readonly signature: string;
}

/** An epoch in the configuration of group 0. */
export interface RecordedEpoch extends Epoch {
  /** The members before it. */
  readonly former: readonly PeerId[];
  /** Per shard, the last entry before it on the node that began it, and the last one that this node knew to be committed. Absent from older builds. */
  readonly ends?: readonly LogIndex[];
  readonly committed?: readonly LogIndex[];
}

/** Epochs that a configuration keeps and a hello names. */
export const MAX_EPOCHS = 8;

export const signedText = (clusterId: string, epoch: Omit<Epoch, "signature">): string =>
  JSON.stringify(["marmot-epoch-1", clusterId, epoch.number, epoch.id, epoch.by, epoch.starts]);

/** older, newer: the other node's epoch; unproven: it is another one, begun by a node that was no member here. */
export type EpochVerdict = "same" | "older" | "newer" | "unproven";

/** `isProven`: a node that is or was a member began the epoch, and its signature is right. */
export function compareEpochs(
  own: readonly Epoch[],
  others: readonly Epoch[],
  isProven: (epoch: Epoch) => boolean,
): EpochVerdict {
  const last = own.at(-1);
  const other = others.at(-1);
  if (last?.id === other?.id) return "same";
  if (other === undefined || has(own, other)) return "older";
  const common = others.findLastIndex((epoch) => has(own, epoch));
  if (!isProven(others[common + 1]!)) return "unproven";
  const isFork = last !== undefined && !has(others, last);
  return isFork && !isLater(other, last) ? "older" : "newer";
}

const has = (epochs: readonly Epoch[], { id }: Epoch): boolean => epochs.some((epoch) => epoch.id === id);

/** Of two epochs that do not know of each other, the one with the higher number is later; then the one with more entries. */
function isLater(epoch: Epoch, than: Epoch): boolean {
  if (epoch.number !== than.number) return epoch.number > than.number;
  const [entries, others] = [epoch, than].map(({ starts }) => starts.reduce((sum, index) => sum + index, 0));
  return entries === others ? epoch.id > than.id : entries! > others!;
}

/** Without the facts that only the configuration keeps. */
export const plainEpoch = ({ number, id, by, starts, signature }: Epoch): Epoch => ({
  ...{ number, id, by, starts, signature },
});
