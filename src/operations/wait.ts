/** `marmot wait`: everything that this machine's applications committed before the call is ordered and applied. */
import type { PeerId } from "../base/ids.ts";
import type { Clock } from "../base/clock.ts";
import type { Transport } from "../shard/seams.ts";
import type { WaitResult } from "./api.ts";
import type { Member } from "../replication/replicator.ts";

const LOOK_MS = 5;
/** How often peers are asked where they stand. */
const ASK_MS = 30;

const sleep = (clock: Clock, ms: number): Promise<void> =>
  new Promise((resolve) => void clock.after(ms, resolve));

export async function waitFor(
  member: () => Member | null,
  components: { readonly clock: Clock; readonly transport: Transport },
  options: { readonly all: boolean; readonly timeoutMs: number },
): Promise<WaitResult> {
  const { clock, transport } = components;
  const end = clock.now() + options.timeoutMs;
  let missing = "the node to be a member of the cluster";
  const until = async (condition: () => boolean): Promise<boolean> => {
    while (!condition()) {
      if (clock.now() >= end) return false;
      await sleep(clock, LOOK_MS);
    }
    return true;
  };
  if (member() === null) return { done: false, missing };
  // A change of the schema comes before the rows that were written under it; those that nothing captured get log rows then.
  const schema = await until(() => {
    const now = member();
    if (now === null) return false;
    missing = now.pipeline.obstacle ?? "a change of the schema to be ordered by a quorum";
    if (!now.pipeline.schemaDue && !now.reader.schemaMovedBeside()) return true;
    now.pipeline.touch();
    now.loop.wake();
    return false;
  });
  const first = member();
  if (!schema || first === null) return { done: false, missing };
  // What is committed now: read in a snapshot that begins after the call came.
  const target = first.reader.newestIds();
  const ordered = await until(() => {
    const now = member();
    if (now === null) return false;
    now.pipeline.touch();
    now.loop.wake();
    const fencing = now.pipeline.outbox.fencing();
    let left = 0;
    for (const [table, id] of target) left += now.pipeline.unordered(table, id);
    const marker = now.replica.replica.awaitedMarkers().join(", ");
    const stands = marker === "" ? "" : `; shard 0 waits for a marker in shard ${marker}`;
    missing =
      now.pipeline.obstacle ??
      (fencing.length > 0
        ? `a quorum of shard ${fencing.join(", ")} (this node is fencing)${stands}`
        : `${left} changes to be ordered by a quorum${stands}`);
    return fencing.length === 0 && left === 0;
  });
  if (!ordered) return { done: false, missing };
  if (!options.all) return { done: true, missing: "" };
  const position = member()!.replica.replica.positions();
  const peers = new Set(transport.connected());
  let askedAt = Number.NEGATIVE_INFINITY;
  const everywhere = await until(() => {
    const now = member();
    if (now === null) return false;
    if (clock.now() - askedAt >= ASK_MS) {
      askedAt = clock.now();
      now.tellAll({ kind: "tell" });
    }
    const shows = (reflected: readonly number[]): boolean =>
      position.every((index, shard) => index <= (reflected[shard] ?? 0));
    const connected = new Set(transport.connected());
    const late = [...peers].filter(
      (p) => connected.has(p) && isMember(now, p) && !shows(now.news.get(p)?.reflected ?? []),
    );
    const self = shows(now.readiness.reflected) ? [] : [now.options.peerId];
    missing = `${[...self, ...late].map((p) => now.nameOf(p)).join(", ")} to apply it`;
    return late.length === 0 && self.length === 0;
  });
  return everywhere ? { done: true, missing: "" } : { done: false, missing };
}

const isMember = (member: Member, peer: PeerId): boolean =>
  member.runtime.groups[0]!.memberOf(peer) !== undefined;
