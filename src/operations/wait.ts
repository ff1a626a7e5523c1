/** `marmot wait`: waits until each local commit from before the call is in the log and applied. */
import { type Clock, sleep } from "../base/clock.ts";
import { hasReached, showPosition } from "../base/text/position-token.ts";
import { CUT_LOG } from "../schema/app-db-tables.ts";
import type { PeerId, Transport } from "../shard/seams.ts";
import type { WaitOptions, WaitResult } from "./api.ts";
import type { Replicator } from "../replication/replicator.ts";

const LOOK_MS = 5;
/** Milliseconds between two requests for the positions of the peers. */
const ASK_MS = 30;

export interface WaitComponents {
  readonly clock: Clock;
  readonly transport: Transport;
}

/** Looks until the condition holds; false: the time ran out. */
type Until = (condition: () => boolean) => Promise<boolean>;

export const untilTime =
  (clock: Clock, end: number): Until =>
  async (condition) => {
    while (!condition()) {
      if (clock.now() >= end) return false;
      await sleep(clock, LOOK_MS);
    }
    return true;
  };

export async function waitFor(
  replicator: () => Replicator | null,
  components: WaitComponents,
  options: Pick<WaitOptions, "all" | "timeoutMs">,
): Promise<WaitResult> {
  const { clock } = components;
  const end = clock.now() + options.timeoutMs;
  let missing = "the node to become a member of the cluster";
  const until = untilTime(clock, end);
  if (replicator() === null) return { done: false, missing, position: "" };
  let target = new Map<number, number>();
  // A schema change precedes the rows that were written under it. Rows that no trigger captured get log rows at that time.
  const schema = await until(() => {
    const now = replicator();
    if (now === null) return false;
    now.checkFile();
    missing = now.pipeline.obstacle ?? "a change of the schema to be ordered by a quorum";
    if (!now.pipeline.schemaDue && !now.reader.schemaMovedBeside()) {
      // The newest commits: read in a snapshot that begins after the call.
      target = now.reader.newestIds();
      if (![...target.values()].includes(CUT_LOG)) return true;
      missing = "a comparison of tables whose change log lost rows";
    }
    now.pipeline.touch();
    now.loop.wake();
    return false;
  });
  const first = replicator();
  if (!schema || first === null) return { done: false, missing, position: "" };
  const ordered = await until(() => {
    const now = replicator();
    if (now === null) return false;
    now.checkFile();
    now.pipeline.touch();
    now.loop.wake();
    const fencing = now.pipeline.outbox.fencing();
    let left = 0;
    for (const [table, id] of target) left += now.pipeline.unordered(table, id);
    const marker = now.replica.replica.awaitedMarkers().join(", ");
    const marking = marker === "" ? "" : `; shard 0 waits for a marker in shard ${marker}`;
    missing =
      now.pipeline.obstacle ??
      now.pipeline.held ??
      (fencing.length > 0
        ? `a quorum of shard ${fencing.join(", ")} (this node is fencing)${marking}`
        : `${left} changes to be ordered by a quorum${marking}`);
    return fencing.length === 0 && left === 0;
  });
  if (!ordered) return { done: false, missing, position: "" };
  const positions = replicator()!.replica.replica.positions();
  const position = showPosition(positions);
  if (!options.all) return { done: true, missing: "", position };
  const missingThere = await shownEverywhere(replicator, components, positions, until);
  return { done: missingThere === "", missing: missingThere, position };
}

const isMember = (replicator: Replicator, peer: PeerId): boolean =>
  replicator.runtime.groups[0]!.memberOf(peer) !== undefined;

/** Waits until every connected member shows the position. Returns the condition that was not met in time; "": all are. */
export async function shownEverywhere(
  replicator: () => Replicator | null,
  { clock, transport }: WaitComponents,
  position: readonly number[],
  until: Until,
): Promise<string> {
  let missing = "the node to become a member of the cluster";
  const peers = new Set(transport.connected());
  let askedAt = Number.NEGATIVE_INFINITY;
  const everywhere = await until(() => {
    const now = replicator();
    if (now === null) return false;
    now.checkFile();
    if (clock.now() - askedAt >= ASK_MS) {
      askedAt = clock.now();
      now.peers.tellAll({ kind: "tell" });
    }
    const connected = new Set(transport.connected());
    const members = [...peers].filter((p) => connected.has(p) && isMember(now, p));
    const late = members.filter((p) => !hasReached(now.peers.received.get(p)?.reflected ?? [], position));
    const held = members.filter((p) => (now.peers.received.get(p)?.waiting ?? 0) > 0);
    if (now.waiting > 0) held.push(now.options.peerId);
    const self = hasReached(now.readiness.reflected, position) ? [] : [now.options.peerId];
    const names = (of: readonly PeerId[]): string => of.map((p) => now.peers.nameOf(p)).join(", ");
    missing =
      late.length + self.length > 0
        ? `${names([...self, ...late])} to apply it`
        : `${names(held)} to write tables that it holds back (marmot status there says why)`;
    return late.length + self.length + held.length === 0;
  });
  return everywhere ? "" : missing;
}
