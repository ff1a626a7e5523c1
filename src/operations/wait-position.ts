/** `marmot wait --position`: waits until a position is ordered, or until the application's file on this node shows it. */
import { UserError } from "../base/errors.ts";
import { hasReached, parsePosition, showPosition } from "../base/text/position-token.ts";
import type { Replicator } from "../replication/replicator.ts";
import type { WaitOptions, WaitResult } from "./api.ts";
import { shownEverywhere, untilTime, type WaitComponents } from "./wait.ts";

export async function waitForPosition(
  replicator: () => Replicator | null,
  components: WaitComponents,
  { position: text, all, here, timeoutMs }: WaitOptions & { readonly position: string },
): Promise<WaitResult> {
  const { clock } = components;
  const until = untilTime(clock, clock.now() + timeoutMs);
  let missing = "the node to become a member of the cluster";
  let position: readonly number[] | null = null;
  const reached = await until(() => {
    const now = replicator();
    if (now === null) return false;
    position ??= requirePosition(text, now.replica.replica.settings.shards);
    if (here || all) {
      if (isShown(now, position)) {
        now.checkFile();
        return true;
      }
      now.pipeline.touch();
      now.loop.wake();
      missing = notShown(now, text);
      return false;
    }
    missing = `${text} to be ordered by a quorum; this node knows of ${showPosition(ordered(now))}`;
    return hasReached(ordered(now), position);
  });
  const left = reached && all ? await shownEverywhere(replicator, components, position!, until) : "";
  const done = reached && left === "";
  return { done, missing: done ? "" : reached ? left : missing, position: shownPosition(replicator()) ?? "" };
}

/** The position that the file shows; null: the node does not replicate now. */
export function shownPosition(replicator: Replicator | null): string | null {
  return replicator === null ? null : showPosition(replicator.readiness.reflected);
}

function requirePosition(text: string, shards: number): readonly number[] {
  const position = parsePosition(text);
  if (position === null)
    throw new UserError(
      `position should be a text such as c:812, not ${text}`,
      "marmot wait --json prints one",
    );
  if (position.length === shards) return position;
  throw new UserError(
    `${text} has ${position.length} shards, but this cluster has ${shards}: it is of another cluster`,
    "marmot wait --json prints a position of this one",
  );
}

const ordered = ({ runtime }: Replicator): number[] => runtime.groups.map((group) => group.raft.commit);

/**
 * The file shows the position. It may do so before the stored position says so: after own rows alone, which the file has
 * already, that one follows within some milliseconds.
 */
function isShown(
  { readiness, replica: { replica }, pipeline, waiting }: Replicator,
  position: readonly number[],
): boolean {
  if (waiting > 0) return false;
  if (hasReached(readiness.reflected, position)) return true;
  return (
    replica.betweenEntries &&
    !pipeline.reflecting &&
    !pipeline.schemaDue &&
    replica.changed.size === 0 &&
    replica.redirected.length === 0 &&
    hasReached(replica.positions(), position)
  );
}

function notShown(now: Replicator, text: string): string {
  if (now.waiting > 0) return "this node to write tables that it holds back (marmot status says why)";
  return now.pipeline.obstacle ?? `${text} to be shown by this file, which shows ${shownPosition(now)}`;
}
