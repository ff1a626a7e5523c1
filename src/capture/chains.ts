/**
 * Where a drain's rows go: into numbered batches that continue what the origin sent before. Row by row, a chain for each
 * shard; whole, one chain in the lane that is in use.
 */
import type { PositionVector, Watermark } from "../change/batch.ts";
import type { KeyList } from "../change/key-list.ts";
import { BatchBuilder, type BuiltPart, type ChainPlace, type SchemaLead } from "./batch-builder.ts";
import { LaneChoice } from "./active-shard-log.ts";
import type { Spooled } from "./spool.ts";

export interface DrainRecord {
  readonly upTo: readonly Watermark[];
  readonly looked: KeyList;
  readonly startedAt: number;
  batchesLeft: number;
  rows: number;
  /** Its rows are too many to remember: it travels alone. */
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
  /** When it was proposed; null: not yet, or to be proposed again. */
  proposedAt: number | null;
}

/** What an incarnation has in flight in one shard's log. */
export interface Lane {
  /** The newest changeset of the chain, sent here or through shard 0. */
  csn: number;
  /** In order of the chain. */
  readonly sent: Sent[];
  /** So many of the first are committed: they are taken when their turn comes, however long other shards let it wait. */
  ordered: number;
  /** Milliseconds without an answer after which the others are proposed again. */
  patienceMs: number;
  opened: boolean;
}

/** The shard in whose log something is in flight; null: nothing is. Whole changesets use one at a time. */
export function laneInUse(lanes: readonly Lane[]): number | null {
  const lane = lanes.findIndex(({ sent }) => sent.length > 0);
  return lane === -1 ? null : lane;
}

export interface ChainsComponents {
  readonly lanes: readonly Lane[];
  readonly place: (csn: number, previousCsn: number, after: PositionVector) => ChainPlace;
  /** Takes the bytes of a part. */
  readonly keep: (bytes: Uint8Array) => Spooled;
}

export interface Chains {
  /** null: rows of the shard cannot leave now. */
  builderOf(shard: number): BatchBuilder | null;
  /** Closes the last parts and puts all of them in their lanes. */
  finish(): void;
  /** Bytes of all parts so far. */
  size(): number;
}

interface OpenChain {
  readonly builder: BatchBuilder;
  readonly parts: Sent[];
}

function openChain(
  csn: number,
  drain: DrainRecord,
  place: (last: boolean) => ChainPlace,
  keep: ChainsComponents["keep"],
  schema: SchemaLead | null = null,
): OpenChain {
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

/** Row by row: a chain for every shard that a row of the drain lies in. */
export function rowChains({ lanes, place, keep }: ChainsComponents, drain: DrainRecord): Chains {
  const open = new Map<number, OpenChain>();
  return {
    builderOf: (shard) => {
      let chain = open.get(shard);
      if (chain === undefined) {
        const { csn } = lanes[shard]!;
        chain = openChain(csn + 1, drain, () => place(csn + 1, csn, []), keep);
        open.set(shard, chain);
      }
      return chain.builder;
    },
    finish: () => {
      for (const [shard, { builder, parts }] of open) {
        builder.finish(drain.upTo);
        lanes[shard]!.csn++;
        lanes[shard]!.sent.push(...parts);
        drain.batchesLeft++;
      }
    },
    size: () => [...open.values()].reduce((sum, { parts }) => sum + sizeOf(parts), 0),
  };
}

/** Whole: one chain, in a lane that is chosen when it must be; numbers rise over all shards. */
export function wholeChain(
  { lanes, place, keep }: ChainsComponents,
  drain: DrainRecord,
  after: PositionVector,
): Chains {
  const choice = new LaneChoice(laneInUse(lanes));
  const csn = Math.max(...lanes.map((lane) => lane.csn)) + 1;
  const at = (last: boolean): ChainPlace => place(csn, lanes[choice.decide(last)]!.csn, after);
  const { builder, parts } = openChain(csn, drain, at, keep);
  return {
    builderOf: (shard) => (choice.admit(shard) ? builder : null),
    finish: () => {
      const lane = choice.decide(true);
      const names = choice.names();
      builder.finish(drain.upTo, names);
      for (const shard of [lane, ...names]) lanes[shard]!.csn = csn;
      lanes[lane]!.sent.push(...parts);
      drain.batchesLeft = 1;
    },
    size: () => sizeOf(parts),
  };
}

/** A change of the schema with rows, alone in flight: through shard 0, and the last of its chain in every other. */
export function schemaChain(
  { lanes, place, keep }: ChainsComponents,
  drain: DrainRecord,
  after: PositionVector,
  schema: SchemaLead,
): Chains {
  const csn = Math.max(...lanes.map((lane) => lane.csn)) + 1;
  const at = (): ChainPlace => place(csn, lanes[0]!.csn, after);
  const { builder, parts } = openChain(csn, drain, at, keep, schema);
  return {
    builderOf: () => builder,
    finish: () => {
      builder.finish(
        drain.upTo,
        lanes.flatMap((_, shard) => (shard === 0 ? [] : [shard])),
      );
      for (const lane of lanes) lane.csn = csn;
      lanes[0]!.sent.push(...parts);
      drain.batchesLeft = 1;
    },
    size: () => sizeOf(parts),
  };
}
