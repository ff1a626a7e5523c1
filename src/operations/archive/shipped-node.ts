/** A running node as the archive sees it. */
import type { ShippedNode } from "../../archive/shipping/shipped.ts";
import type { Clock } from "../../base/clock.ts";
import type { Replicator } from "../../replication/replicator.ts";

/** One object for each replicator: the shipper begins again with another one. */
const nodes = new WeakMap<Replicator, ShippedNode>();

export function shippedNode(replicator: Replicator, clock: Clock): ShippedNode {
  const known = nodes.get(replicator);
  if (known !== undefined) return known;
  const node = adapt(replicator, clock);
  nodes.set(replicator, node);
  return node;
}

function adapt(replicator: Replicator, clock: Clock): ShippedNode {
  const { replica } = replicator.replica;
  const { shards } = replica.settings;
  const each = <T>(of: (shard: number) => T): T[] => Array.from({ length: shards }, (_, shard) => of(shard));
  return {
    cluster: replicator.clusterId,
    shards,
    name: replicator.options.name,
    positions: () => replica.positions(),
    state: () =>
      replica.betweenEntries
        ? {
            positions: replica.positions(),
            terms: each((shard) => replica.term(shard)),
            // Only a segment needs them.
            get sums() {
              return each((shard) => replica.checksums.ofShard(shard));
            },
          }
        : null,
    log: (shard) => replicator.log.group(shard),
    leads: () => replicator.runtime.groups[0]!.raft.isLeader,
    copy: async (path) => {
      const positions = await replicator.snapshots.copyTo(path);
      const [indexes, terms] = [positions.map((p) => p.index), positions.map((p) => p.term)];
      return { positions: indexes, terms, at: clock.wallTime() };
    },
    onCommit: (run) => {
      replica.onCommit = run;
    },
    hold: (positions) => {
      replicator.snapshots.holds.archive = positions;
    },
  };
}
