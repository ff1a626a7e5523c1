/** The header before the bytes of a replica: its cluster, its positions, its size. JSON, validated by a schema. */
import { asPeerId } from "../base/ids.ts";
import * as v from "valibot";
import { fromUtf8, utf8 } from "../base/bytes.ts";
import { FORMATS, showRange } from "../base/versions/formats.ts";
import type { GroupConfiguration } from "../shard/seams.ts";

/** Version that is written. */
const COPY_FORMAT = 1;

const index = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const peer = v.pipe(v.string(), v.transform(asPeerId));
const members = v.pipe(v.array(v.number()), v.readonly());

/** `GroupConfiguration` of the shard seams; a member's `slot` and `admission` are absent in configurations of older versions. */
export const CONFIGURATION = v.object({
  index,
  configuration: v.object({
    voters: members,
    votersOutgoing: members,
    learners: members,
    learnersNext: members,
    autoLeave: v.boolean(),
  }),
  members: v.array(
    // Facts of newer builds are kept.
    v.looseObject({
      id: v.number(),
      peerId: peer,
      name: v.string(),
      slot: v.exactOptional(v.number()),
      admission: v.exactOptional(v.string()),
      role: v.exactOptional(v.fallback(v.literal("learner"), "learner")),
      reader: v.exactOptional(v.literal(true)),
    }),
  ),
  /** Absent in clusters that were never recovered. */
  epochs: v.exactOptional(
    v.array(
      v.object({
        number: index,
        id: v.string(),
        by: peer,
        starts: v.array(index),
        signature: v.string(),
        former: v.array(peer),
        ends: v.exactOptional(members),
        committed: v.exactOptional(members),
      }),
    ),
  ),
});

const HEADER = v.pipe(
  v.object({
    clusterId: v.string(),
    /** One per shard. */
    positions: v.array(v.object({ index, term: index })),
    /** The groups' configurations at these positions. */
    configurations: v.array(CONFIGURATION),
    /** Bytes of the replica. */
    size: index,
    /** The id of the sender's copy; absent from older builds, whose transfers cannot be continued. */
    copy: v.exactOptional(v.pipe(v.string(), v.regex(/^[\w-]{1,64}$/))),
    /** The first byte that follows; absent: 0. */
    from: v.exactOptional(index),
  }),
  v.check(
    ({ positions, configurations }) => positions.length === configurations.length,
    "it should have a position and a configuration for every shard",
  ),
);

const hash = v.pipe(v.string(), v.regex(/^[0-9a-f]{1,16}$/));
/** `hash`: of this transfer; `whole`: of the copy's blocks, absent from older builds. */
const TRAILER = v.object({ hash, whole: v.optional(hash) });

export interface SnapshotHeader {
  readonly clusterId: string;
  readonly positions: readonly { readonly index: number; readonly term: number }[];
  readonly configurations: readonly GroupConfiguration[];
  readonly size: number;
  readonly copy?: string;
  readonly from?: number;
}

export interface SnapshotTrailer {
  readonly hash: bigint;
  readonly whole: bigint | null;
}

/** The bytes are not a snapshot of this format. */
export class SnapshotError extends Error {
  override name = "SnapshotError";
}

export const encodeHeader = (header: SnapshotHeader): Uint8Array =>
  utf8(JSON.stringify({ format: COPY_FORMAT, ...header }));

/** Throws `SnapshotError`. */
export function decodeHeader(bytes: Uint8Array): SnapshotHeader {
  const { format, ...value } = parse(v.looseObject({ format: v.unknown() }), bytes);
  if (typeof format !== "number" || format < FORMATS.copy.min || format > FORMATS.copy.max)
    throw new SnapshotError(
      `a copy of format ${String(format)}, and this build reads ${showRange(FORMATS.copy)}`,
    );
  return check(HEADER, value);
}

function parse<T>(schema: v.GenericSchema<unknown, T>, bytes: Uint8Array): T {
  let value: unknown;
  try {
    value = JSON.parse(fromUtf8(bytes));
  } catch {
    throw new SnapshotError("not a snapshot");
  }
  return check(schema, value);
}

function check<T>(schema: v.GenericSchema<unknown, T>, value: unknown): T {
  const result = v.safeParse(schema, value);
  if (result.success) return result.output;
  const [{ message, path }] = result.issues;
  const where = path?.map(({ key }) => String(key)).join(".") ?? "";
  throw new SnapshotError(`a malformed snapshot: ${where === "" ? "" : `${where}: `}${message}`);
}

/** The last chunk: a hash of all chunks before it. */
export const encodeTrailer = ({ hash, whole }: SnapshotTrailer): Uint8Array =>
  utf8(JSON.stringify({ hash: hash.toString(16), ...(whole === null ? {} : { whole: whole.toString(16) }) }));

/** Throws `SnapshotError`. */
export function decodeTrailer(bytes: Uint8Array): SnapshotTrailer {
  const trailer = parse(TRAILER, bytes);
  const number = (text: string): bigint => BigInt(`0x${text}`);
  return { hash: number(trailer.hash), whole: trailer.whole === undefined ? null : number(trailer.whole) };
}
