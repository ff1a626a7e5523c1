/**
 * Puts the rows of a drain into numbered batches that continue the origin's earlier ones. Row by row, there is a chain for
 * each shard; whole, there is one chain in the active shard log.
 */
import type { PositionVector, Watermark } from "../change/batch.ts";
import type { KeyList } from "../change/key-map.ts";
import { ActiveShardLog } from "./active-shard-log.ts";
import { BatchBuilder, type BuiltPart, type ChainPlace, type SchemaLead } from "./batch-builder.ts";
import type { Spooled } from "./spool.ts";

export interface DrainRecord {
  readonly upTo: readonly Watermark[];
  readonly looked: KeyList;
  readonly startedAt: number;
  batchesLeft: number;
  rows: number;
  /** Its rows are too many to remember: nothing else is in flight beside it. */
  alone: boolean;
}

export interface Sent {
  readonly csn: number;
  readonly part: number;
  readonly last: boolean;
  readonly bytes: Spooled;
  readonly size: number;
  readonly rows: number;
  /** null: the opening of the incarnation. */
  readonly drain: DrainRecord | null;
  /** Keys whose images are in flight with this changeset; on the last part, null: on the others. */
  readonly keys: KeyList | null;
  /** When it was proposed; null: not yet, or it must be proposed again. */
  proposedAt: number | null;
}

/** The part of an incarnation that is in flight in one shard's log. */
export interface SentChain {
  /** The newest changeset of the chain, sent here or through shard 0. */
  csn: number;
  /** In order of the chain. */
  readonly sent: Sent[];
  /** So many of the first are committed. They are taken later if the replica must wait for other shards. */
  ordered: number;
  /** Milliseconds without an answer after which the others are proposed again. */
  patienceMs: number;
  /** A proposal was refused by the queue to the leader. */
  lost: boolean;
  opened: boolean;
}

/** The shard in whose log something is in flight; null: nothing is. Whole changesets use one at a time. */
export function shardInUse(chains: readonly SentChain[]): number | null {
  const shard = chains.findIndex(({ sent }) => sent.length > 0);
  return shard === -1 ? null : shard;
}

export interface ChangesetComponents {
  /** By shard. */
  readonly chains: readonly SentChain[];
  readonly place: (csn: number, previousCsn: number, after: PositionVector) => ChainPlace;
  /** Takes the bytes of a part. */
  readonly keep: (bytes: Uint8Array) => Spooled;
  readonly drain: DrainRecord;
}

export interface Changeset {
  /** null: rows of the shard cannot leave now. */
  builderOf(shard: number): BatchBuilder | null;
  /** Closes the last parts and puts all of them into their chains. */
  finish(): void;
  /** Bytes of all parts so far. */
  size(): number;
}

interface OpenChangeset {
  readonly builder: BatchBuilder;
  readonly parts: Sent[];
}

function openChangeset(
  csn: number,
  place: (last: boolean) => ChainPlace,
  { drain, keep }: Pick<ChangesetComponents, "drain" | "keep">,
  schema: SchemaLead | null = null,
): OpenChangeset {
  const parts: Sent[] = [];
  const onPart = ({ part, last, bytes, rows }: BuiltPart): void => {
    const keys = last ? builder.keys : null;
    const size = bytes.length;
    parts.push({ csn, part, last, bytes: keep(bytes), size, rows, drain, keys, proposedAt: null });
  };
  const builder = new BatchBuilder(place, onPart, schema);
  return { builder, parts };
}

const sizeOf = (parts: readonly Sent[]): number => parts.reduce((sum, { size }) => sum + size, 0);

/** Row by row: a changeset for every shard that a row of the drain lies in. */
export function changesetPerShard(components: ChangesetComponents): Changeset {
  const { chains, place, drain } = components;
  const open = new Map<number, OpenChangeset>();
  return {
    builderOf: (shard) => {
      let changeset = open.get(shard);
      if (changeset === undefined) {
        const { csn } = chains[shard]!;
        changeset = openChangeset(csn + 1, () => place(csn + 1, csn, []), components);
        open.set(shard, changeset);
      }
      return changeset.builder;
    },
    finish: () => {
      for (const [shard, { builder, parts }] of open) {
        builder.finish(drain.upTo);
        chains[shard]!.csn++;
        chains[shard]!.sent.push(...parts);
        drain.batchesLeft++;
      }
    },
    size: () => [...open.values()].reduce((sum, { parts }) => sum + sizeOf(parts), 0),
  };
}

/** Whole: one changeset, in a shard log that is chosen as late as possible; numbers rise over all shards. */
export function wholeChangeset(components: ChangesetComponents, after: PositionVector): Changeset {
  const { chains, place, drain } = components;
  const active = new ActiveShardLog(shardInUse(chains));
  const csn = Math.max(...chains.map((chain) => chain.csn)) + 1;
  const at = (last: boolean): ChainPlace => place(csn, chains[active.decide(last)]!.csn, after);
  const { builder, parts } = openChangeset(csn, at, components);
  return {
    builderOf: (shard) => (active.admit(shard) ? builder : null),
    finish: () => {
      const shard = active.decide(true);
      const names = active.names();
      builder.finish(drain.upTo, names);
      for (const touched of [shard, ...names]) chains[touched]!.csn = csn;
      chains[shard]!.sent.push(...parts);
      drain.batchesLeft = 1;
    },
    size: () => sizeOf(parts),
  };
}

/** A schema change with rows, alone in flight: through shard 0, and the last of its chain in every other shard. */
export function schemaChangeset(
  components: ChangesetComponents,
  after: PositionVector,
  schema: SchemaLead,
): Changeset {
  const { chains, place, drain } = components;
  const csn = Math.max(...chains.map((chain) => chain.csn)) + 1;
  const at = (): ChainPlace => place(csn, chains[0]!.csn, after);
  const { builder, parts } = openChangeset(csn, at, components, schema);
  return {
    builderOf: () => builder,
    finish: () => {
      builder.finish(
        drain.upTo,
        chains.flatMap((_, shard) => (shard === 0 ? [] : [shard])),
      );
      for (const chain of chains) chain.csn = csn;
      chains[0]!.sent.push(...parts);
      drain.batchesLeft = 1;
    },
    size: () => sizeOf(parts),
  };
}
