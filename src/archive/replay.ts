/** The replica as it was at a position or a time: a copy from the archive, and the entries after it. */
import { UserError } from "../base/errors.ts";
import { hasReached, showPosition } from "../base/text/position-token.ts";
import { openReplica, type OpenReplica } from "../replica/open-replica.ts";
import type { Replica } from "../replica/replica.ts";
import { type Archive, type Chained, showPlace, type SnapshotMarker } from "./archive.ts";
import { decodeCopy } from "./copy.ts";
import { damagedLink, linkName, type Segment, type SnapshotLink, type Sums } from "./chain-link.ts";

/** The replica is opened as that of a node that is no member. */
const NO_MEMBER = "archive";

/** `newest`: the end of the archive. */
export type Target =
  | { readonly kind: "newest" }
  | { readonly kind: "time"; readonly time: number }
  | { readonly kind: "position"; readonly position: readonly number[] };

export interface Replayed {
  readonly positions: readonly number[];
  /** Since when the cluster was there, in milliseconds since 1970. */
  readonly time: number;
  /** The link of the copy from which it began. */
  readonly snapshot: number;
  /** Entries that were applied after it. */
  readonly entries: number;
  /** The checksums were compared with those that the cluster had. */
  readonly checked: boolean;
}

export interface ReplayOptions {
  readonly archive: Archive;
  readonly target: Target;
  /** Begins with the last snapshot before this moment, or with the first one; absent: with the last one before the target. */
  readonly from?: Target;
  /** Path of the replica that is made. */
  readonly file: string;
  readonly onProgress?: (entries: number) => void;
  /** Called with the opened replica, before the entries are applied and after each segment. */
  readonly onOpen?: (open: OpenReplica, snapshot: SnapshotLink) => void;
  /** False: nothing more is wanted. */
  readonly onSegment?: (replica: Replica) => unknown;
  /** At the target. */
  readonly onDone?: (open: OpenReplica) => void;
}

/** Throws `UserError` if the archive does not reach the target, or is damaged. The caller removes the file. */
export async function replay(options: ReplayOptions): Promise<Replayed> {
  const { archive, target, file } = options;
  const end = await endOf(archive);
  const snapshot =
    options.from === undefined
      ? await chooseSnapshot(archive, target, end)
      : await snapshotBefore(archive, options.from, target);
  const link = await snapshotLink(archive, snapshot);
  const { name, seal, place } = { name: link.data, seal: archive.seal, place: archive.shown };
  const copied = await decodeCopy(archive.store.stream(name), file, { name, seal, place, most: link.bytes });
  if (copied.bytes !== link.bytes || copied.sha256 !== link.sha256)
    throw damagedLink(`${name} of the archive ${place} is not the copy that the chain describes`);
  const open = openReplica(file, NO_MEMBER);
  try {
    open.db.exec("PRAGMA synchronous = OFF");
    options.onOpen?.(open, link);
    const run = new Run(open.replica, link, options);
    await run.follow(end.link.number);
    while (open.replica.beforeImages.size > 0) {
      const before = open.replica.beforeImages.size;
      open.replica.prune(open.replica.positions(), () => false);
      if (open.replica.beforeImages.size === before) break;
    }
    options.onDone?.(open);
    return run.result();
  } finally {
    open.close();
  }
}

export async function endOf(archive: Archive): Promise<Chained> {
  // Links are only added, and the head is written after the link that it names.
  const head = await archive.head();
  const end = await archive.tail(null);
  if (end !== null && (head?.number ?? 0) > end.link.number)
    throw damagedLink(
      `${linkName(end.link.number + 1)} of the archive ${archive.shown} is missing: it ends too early`,
    );
  if (end !== null) return end;
  throw new UserError(
    `the archive ${archive.shown} is empty`,
    "wait until marmot archive status shows the first snapshot",
  );
}

async function chooseSnapshot(
  archive: Archive,
  target: Target,
  { link: end }: Chained,
): Promise<SnapshotMarker> {
  const all = await archive.snapshots();
  const [first] = all;
  if (first === undefined) throw noSnapshot(archive);
  const reach = `it has ${showPlace(first.positions, first.at)} to ${showPlace(end.to, end.since)}`;
  const refuse = (asked: string, when: string): UserError =>
    new UserError(
      `${asked} is ${when} of the archive ${archive.shown}: ${reach}`,
      "give a moment between them",
    );
  if (target.kind === "newest") return all.at(-1)!;
  if (target.kind === "time") {
    const asked = new Date(target.time).toISOString();
    const head = await archive.head();
    if (target.time > Math.max(end.since, head?.until ?? 0)) throw refuse(asked, "after the end");
    const found = all.findLast(({ at }) => at <= target.time);
    if (found === undefined) throw refuse(asked, "before the first snapshot");
    return found;
  }
  const { position } = target;
  const asked = showPosition(position);
  if (position.length !== archive.document.shards)
    throw new UserError(
      `${asked} has ${position.length} parts, and the cluster has ${archive.document.shards} shards`,
      `a position of it looks like ${showPosition(end.to)}`,
    );
  const found = all.findLast(({ positions }) => hasReached(position, positions));
  if (found === undefined) throw refuse(asked, "before the first snapshot");
  if (!hasReached(end.to, position)) throw refuse(asked, "after the end");
  return found;
}

/** Also before the target: nothing would be applied from a later one. */
async function snapshotBefore(archive: Archive, from: Target, target: Target): Promise<SnapshotMarker> {
  const all = await archive.snapshots();
  const isBefore = (
    { at, positions }: SnapshotMarker,
    moment: Exclude<Target, { kind: "newest" }>,
  ): boolean => (moment.kind === "time" ? at <= moment.time : hasReached(moment.position, positions));
  const found = all.findLast(
    (one) =>
      from.kind !== "newest" && isBefore(one, from) && (target.kind === "newest" || isBefore(one, target)),
  );
  const first = found ?? all[0];
  if (first !== undefined) return first;
  throw noSnapshot(archive);
}

const noSnapshot = (archive: Archive): UserError =>
  new UserError(
    `the archive ${archive.shown} has no complete snapshot`,
    "wait until marmot archive status shows one",
  );

async function snapshotLink(archive: Archive, { number, data }: SnapshotMarker): Promise<SnapshotLink> {
  const found = await archive.link(number);
  if (found?.link.kind === "snapshot" && found.link.data === data) return found.link;
  throw damagedLink(
    `${linkName(number)} of the archive ${archive.shown} is not the snapshot that it should be`,
  );
}

/** Applies links to a replica, up to the target. */
class Run {
  readonly #replica: Replica;
  readonly #snapshot: SnapshotLink;
  readonly #options: ReplayOptions;
  /** Per shard, the last entry that was read. */
  readonly #last: number[];
  #time: number;
  #entries = 0;
  #checked = false;
  /** The positions at which the target is; null: it is not known yet. */
  #wanted: readonly number[] | null = null;

  constructor(replica: Replica, snapshot: SnapshotLink, options: ReplayOptions) {
    this.#replica = replica;
    this.#snapshot = snapshot;
    this.#options = options;
    this.#time = snapshot.at;
    if (options.target.kind === "position") this.#wanted = options.target.position;
    this.#last = [...snapshot.positions];
  }

  result(): Replayed {
    return {
      positions: this.#replica.positions(),
      time: this.#time,
      snapshot: this.#snapshot.number,
      entries: this.#entries,
      checked: this.#checked,
    };
  }

  async follow(last: number): Promise<void> {
    const { archive } = this.#options;
    for await (const { link } of archive.walk(this.#snapshot.follow, last)) {
      if (this.#isDone()) return;
      if (link.kind === "segment") {
        if (!this.#take(link)) return;
      } else if (link.gap && link.number !== this.#snapshot.number) {
        this.#requireDone(link);
        return;
      }
    }
    this.#requireDone(null);
  }

  #isDone(): boolean {
    const { target } = this.#options;
    return (
      (target.kind === "time" && this.#wanted !== null) ||
      (target.kind === "position" && hasReached(this.#replica.positions(), target.position))
    );
  }

  /** False: nothing more is wanted. */
  #take(segment: Segment): boolean {
    const { target, onProgress, onSegment } = this.#options;
    const replica = this.#replica;
    const limit = this.#limitIn(segment);
    segment.entries.forEach((entries, shard) => {
      const upTo = limit[shard] ?? 0;
      const taken = entries.filter(({ index }) => index <= upTo && index > this.#last[shard]!);
      const [first] = taken;
      if (first === undefined) return;
      if (first.index !== this.#last[shard]! + 1)
        throw this.#gap(`${linkName(segment.number)} goes on at entry ${first.index} of shard ${shard}`);
      this.#last[shard] = taken.at(-1)!.index;
      replica.enqueue(shard, taken);
      this.#entries += taken.length;
    });
    replica.advance(() => false);
    replica.changed.clear();
    replica.prune(replica.positions(), () => false);
    this.#time = this.#timeIn(segment) ?? this.#time;
    if (target.kind === "time" && segment.marks.some(([time]) => time > target.time)) this.#wanted = limit;
    this.#compare(segment.to, segment.sums);
    onProgress?.(this.#entries);
    return onSegment?.(replica) !== false;
  }

  /** Up to where the entries of the segment belong to the target. */
  #limitIn({ marks, to }: Segment): readonly number[] {
    const { target } = this.#options;
    if (target.kind === "newest") return to;
    if (target.kind === "position") return target.position;
    if (marks.every(([time]) => time <= target.time)) return to;
    return marks.findLast(([time]) => time <= target.time)?.[1] ?? this.#replica.positions();
  }

  /** When the cluster was first where the replica is now; null: no mark tells. */
  #timeIn({ marks }: Segment): number | null {
    const at = this.#replica.positions();
    return marks.findLast(([, positions]) => hasReached(at, positions))?.[0] ?? null;
  }

  #requireDone(gap: SnapshotLink | null): void {
    const { target } = this.#options;
    if (target.kind === "newest" && gap === null) return;
    if (this.#isDone()) return;
    // Nothing was ordered between the last entry and the time.
    if (target.kind === "time" && gap === null) return;
    const at = showPlace(this.#replica.positions(), this.#time);
    if (gap !== null)
      throw new UserError(
        `the archive ${this.#options.archive.shown} has nothing between ${at} and ${showPlace(gap.positions, gap.at)}: what was ordered then was not shipped in time`,
        "give a moment before or after",
      );
    throw this.#gap(`its entries end at ${at}`);
  }

  #gap(detail: string): UserError {
    const at = showPosition(this.#replica.positions());
    return damagedLink(`the archive ${this.#options.archive.shown} has a gap after ${at}: ${detail}`);
  }

  /** Throws `UserError` if the rows are not those that the cluster had. */
  #compare(to: readonly number[], sums: Sums | null): void {
    const at = this.#replica.positions();
    if (sums === null || !at.every((index, shard) => index === to[shard])) return;
    this.#checked = false;
    at.forEach((_, shard) => {
      const own = this.#replica.checksums.ofShard(shard);
      if (JSON.stringify(own) === JSON.stringify(sums[shard] ?? [])) return;
      throw damagedLink(
        `the archive ${this.#options.archive.shown} restores other rows at ${showPosition(at)} than the cluster had there`,
      );
    });
    this.#checked = true;
  }
}
