/** The next link of the chain: a segment with ordered entries, or a snapshot. */
import type { Entry } from "../../raft/model/types.ts";
import type { Chained } from "../archive.ts";
import type { Segment, SnapshotLink } from "../chain-link.ts";
import type { StoredCopy } from "./copies.ts";
import type { Marks } from "./marks.ts";
import type { ShippedNode, ShippedState } from "./shipped.ts";

/** Entries of one segment. */
const SEGMENT_BYTES = 8 << 20;
const LEAST_BYTES = 1 << 16;

export interface SegmentFacts {
  readonly node: ShippedNode;
  /** The end of the chain. */
  readonly tail: Chained;
  readonly state: ShippedState;
  readonly marks: Marks;
  /** Wall clock. */
  readonly now: number;
}

/** The entries after the end of the chain, as many as a segment takes. */
export function makeSegment({ node, tail: { link, hash }, state, marks: seen, now }: SegmentFacts): Segment {
  const { positions, sums } = state;
  const from = link.to;
  const share = Math.max(LEAST_BYTES, Math.floor(SEGMENT_BYTES / node.shards));
  const entries: Entry[][] = [];
  const [to, terms] = [[...from], [...link.terms]];
  for (let shard = 0; shard < node.shards; shard++) {
    const [first, end] = [from[shard]! + 1, positions[shard]! + 1];
    const list = first < end ? node.log(shard).entries(first, end, share) : [];
    entries.push(list);
    const last = list.at(-1);
    if (last === undefined) continue;
    to[shard] = last.index;
    terms[shard] = last.term;
  }
  const marks = seen.between(from, to, entries, now);
  const isWhole = positions.every((index, shard) => index === to[shard]);
  return {
    ...{ kind: "segment", number: link.number + 1, previous: hash, cluster: node.cluster, time: now },
    ...{ node: node.name, from, to, terms, marks, entries },
    since: marks.at(-1)![0],
    sums: isWhole ? sums : null,
  };
}

export interface SnapshotFacts {
  readonly node: ShippedNode;
  /** null: it is the first link. */
  readonly tail: Chained | null;
  readonly copy: StoredCopy;
  /** The chain does not lead to the copy; null: it goes on as if it were not there. */
  readonly gap: boolean | null;
  /** Wall clock. */
  readonly now: number;
}

export function makeSnapshotLink({ node, tail, copy, gap, now }: SnapshotFacts): SnapshotLink {
  const { positions, terms, at, data, bytes, sha256, follow } = copy;
  const number = (tail?.link.number ?? 0) + 1;
  const end = gap === null ? tail!.link : { to: positions, terms, since: at };
  return {
    ...{ kind: "snapshot", number, previous: tail?.hash ?? "", cluster: node.cluster },
    ...{ time: now, node: node.name },
    ...{ to: end.to, terms: end.terms, since: end.since, sums: null, positions, at, data, bytes, sha256 },
    ...{ follow: gap === null ? follow : number + 1, gap: gap === true },
  };
}
