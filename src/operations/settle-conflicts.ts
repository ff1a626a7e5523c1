/** Orders the state of conflicts, so that every node has it: an operator restored or dismissed them. */
import { type Clock, sleep } from "../base/clock.ts";
import { UserError } from "../base/errors.ts";
import { BatchKind } from "../change/batch.ts";
import { encodeBatch } from "../change/codec.ts";
import { SETTLED_AT_ONCE, type SettledState, settleNote } from "../replica/conflicts/conflict-states.ts";
import type { StoredConflict } from "../replica/conflicts/journal.ts";
import type { Replicator } from "../replication/replicator.ts";

const LOOK_MS = 20;
/** Milliseconds after which an entry that did not arrive is proposed again. */
const PROPOSE_AGAIN_MS = 2000;

export interface SettleComponents {
  /** null: the node halted in the meantime. */
  readonly replicator: () => Replicator | null;
  readonly clock: Clock;
}

/** Resolves when all are settled here. Throws `UserError` if no quorum orders that in time. */
export async function settleConflicts(
  { replicator, clock }: SettleComponents,
  state: SettledState,
  conflicts: readonly StoredConflict[],
  timeoutMs: number,
): Promise<void> {
  const end = clock.now() + timeoutMs;
  let proposedAt = Number.NEGATIVE_INFINITY;
  for (;;) {
    const now = replicator();
    const left = now === null ? conflicts : conflicts.filter((c) => !isSettled(now, state, c));
    if (left.length === 0) return;
    if (clock.now() >= end)
      throw new UserError(
        `no quorum ordered the state of ${left.length} conflicts in time`,
        "marmot status shows whether a majority of the voters is connected; give the command again",
      );
    if (now !== null && clock.now() - proposedAt > PROPOSE_AGAIN_MS) {
      proposedAt = clock.now();
      propose(now, clock, state, left);
    }
    await sleep(clock, LOOK_MS);
  }
}

/** It has the state, or the journal keeps it no longer. A restored conflict counts as dismissed. */
function isSettled({ replica: { replica } }: Replicator, state: SettledState, c: StoredConflict): boolean {
  const { journal } = replica;
  const now = journal.states.of(c.shard, c.index, c.ordinal)?.state;
  if (now === state || (now !== undefined && state === "dismissed")) return true;
  return journal.get(c.shard, c.index, c.ordinal) === null;
}

function propose(
  replicator: Replicator,
  clock: Clock,
  state: SettledState,
  conflicts: readonly StoredConflict[],
): void {
  for (const [shard, of] of Map.groupBy(conflicts, (c) => c.shard))
    for (let i = 0; i < of.length; i += SETTLED_AT_ONCE) {
      const note = settleNote(state, of.slice(i, i + SETTLED_AT_ONCE));
      replicator.runtime.propose(shard, noteBatch(replicator.options.peerId, note, clock.wallTime()));
    }
  replicator.loop.wake();
}

/** An entry without rows that says `note` to every node. */
export function noteBatch(origin: string, note: string, time: number): Uint8Array {
  return encodeBatch({
    ...{ kind: BatchKind.check, origin, incarnation: 0, csn: 0, part: 1, parts: 1, previousCsn: 0 },
    ...{ schemaVersion: 0, bases: [], after: [], watermarks: [], time, note, tables: [] },
  });
}
