/**
 * The objects of the chain: `chain/000000/0000000001` and so on, each with the hash of the one before it. A segment has the ordered entries
 * between two positions, a snapshot link describes a copy of the replica. Written once, never changed. Old segments of an interval are
 * merged: `merged/0000000001-0000003600` takes the place of these links, with the hash of the last one for the link that follows.
 *
 *     "MARC", format, SHA-256 of the rest (32 bytes), the rest: MessagePack, compressed (zstd), encrypted where the archive has a key
 */
import { Packr } from "msgpackr";
import * as v from "valibot";
import { errorMessage, UserError } from "../base/errors.ts";
import { packExact } from "../base/pack.ts";
import type { Entry, EntryType } from "../raft/model/types.ts";
import { compress, decompress } from "./compress.ts";
import type { Seal } from "./seal.ts";

/** Version of the objects. */
const LINK_FORMAT = 1;
const MAGIC = new Uint8Array([0x4d, 0x41, 0x52, 0x43, LINK_FORMAT]);
const HASH_BYTES = 32;
const HEAD_BYTES = MAGIC.length + HASH_BYTES;
const LEVEL = 3;
const DIGITS = 10;
const FOLDER_DIGITS = 6;

/** The cluster was at the positions from this time on, in milliseconds since 1970, by the clock of the node that ships. */
export type Mark = readonly [time: number, positions: readonly number[]];

/** Per shard, the checksums of its tables as [table, decimal digits]. */
export type Sums = readonly (readonly (readonly [table: number, sum: string])[])[];

interface LinkHead {
  readonly number: number;
  /** Of the link before this one; "": it is the first. */
  readonly previous: string;
  readonly cluster: string;
  /** Wall clock at which it was made. */
  readonly time: number;
  /** The name of the node that made it. */
  readonly node: string;
  /** The state after this link: its positions, and the terms of the last entries. */
  readonly to: readonly number[];
  readonly terms: readonly number[];
  /** When the cluster came to `to`. */
  readonly since: number;
  /** Checksums of the rows at `to`, or of the copy, as the node had them; null: not known. */
  readonly sums: Sums | null;
}

export interface Segment extends LinkHead {
  readonly kind: "segment";
  /** It has the entries after these positions. */
  readonly from: readonly number[];
  readonly marks: readonly Mark[];
  /** Per shard, in order. */
  readonly entries: readonly (readonly Entry[])[];
  /** It takes the place of the links from this number to its own. Absent: it is one link. */
  readonly first?: number;
}

/** Links of an interval as one object, and the hash of the last of them. */
export interface MergedLink {
  readonly link: Segment & { readonly first: number };
  readonly hash: string;
}

/** Numbers of links that a merged object has the place of. */
export interface LinkRange {
  readonly first: number;
  readonly last: number;
}

/** A copy of the replica at `positions`. Entries after them are in the links from `follow` on. */
export interface SnapshotLink extends LinkHead {
  readonly kind: "snapshot";
  readonly positions: readonly number[];
  /** The name of the object with the copy; its size and SHA-256 before compression. */
  readonly data: string;
  readonly bytes: number;
  readonly sha256: string;
  readonly follow: number;
  /** When the cluster was at `positions`. */
  readonly at: number;
  /** The links before it do not lead to it: positions between are lost for the archive. */
  readonly gap: boolean;
}

export type Link = Segment | SnapshotLink;

const index = v.pipe(v.number(), v.integer(), v.minValue(0));
const positions = v.array(index);
const head = {
  number: index,
  previous: v.string(),
  cluster: v.string(),
  time: v.number(),
  node: v.string(),
  to: positions,
  terms: positions,
  since: v.number(),
  sums: v.nullable(v.array(v.array(v.tuple([v.number(), v.string()])))),
};
const segment = {
  ...head,
  from: positions,
  marks: v.array(v.tuple([v.number(), positions])),
  entries: v.array(v.array(v.tuple([index, index, index, v.instance(Uint8Array)]))),
};
const schema = v.variant("kind", [
  v.object({ ...segment, kind: v.literal("segment") }),
  v.object({ ...segment, kind: v.literal("merged"), first: index, hash: v.string() }),
  v.object({
    ...head,
    kind: v.literal("snapshot"),
    positions,
    data: v.string(),
    bytes: index,
    sha256: v.string(),
    follow: index,
    at: v.number(),
    gap: v.boolean(),
  }),
]);

const packr = new Packr({ useRecords: false });

/** Names sort by number; a folder has at most 10,000 of them. */
export const linkFolder = (number: number): string =>
  `chain/${String(Math.floor(number / 10_000)).padStart(FOLDER_DIGITS, "0")}/`;
export const linkName = (number: number): string =>
  `${linkFolder(number)}${String(number).padStart(DIGITS, "0")}`;
/** null: the name is of another kind. */
export function linkNumber(name: string): number | null {
  const match = /\/(\d{10})$/.exec(name);
  return match === null ? null : Number(match[1]);
}

export const MERGED = "merged/";
const padded = (number: number): string => String(number).padStart(DIGITS, "0");
export const mergedName = ({ first, last }: LinkRange): string => `${MERGED}${padded(first)}-${padded(last)}`;
/** null: the name is of another kind. */
export function mergedRange(name: string): LinkRange | null {
  const match = /^merged\/(\d{10})-(\d{10})$/.exec(name);
  return match === null ? null : { first: Number(match[1]), last: Number(match[2]) };
}

export const hashOf = (bytes: Uint8Array): string =>
  new Bun.CryptoHasher("sha256").update(bytes).digest("hex");

export function encodeLink(link: Link, seal: Seal): Promise<Uint8Array> {
  const plain = link.kind === "snapshot" ? link : { ...link, entries: packedEntries(link) };
  return sealed(plain, linkName(link.number), link, seal);
}

export function encodeMerged({ link, hash }: MergedLink, seal: Seal): Promise<Uint8Array> {
  const plain = { ...link, kind: "merged", hash, entries: packedEntries(link) };
  return sealed(plain, mergedName({ first: link.first, last: link.number }), link, seal);
}

const packedEntries = ({ entries }: Segment): unknown =>
  entries.map((list) => list.map((e) => [e.term, e.index, e.type, e.data]));

/** Bytes of the entries. */
export const entryBytes = ({ entries }: Segment): number =>
  entries.reduce((sum, list) => sum + list.reduce((size, { data }) => size + data.length, 0), 0);

async function sealed(plain: object, name: string, link: Link, seal: Seal): Promise<Uint8Array> {
  const expectedBytes = link.kind === "snapshot" ? 0 : entryBytes(link);
  const packed = packExact(packr, plain, { expectedBytes });
  const body = seal.close(await compress(packed, LEVEL), name);
  const out = new Uint8Array(HEAD_BYTES + body.length);
  out.set(MAGIC);
  out.set(new Bun.CryptoHasher("sha256").update(body).digest(), MAGIC.length);
  out.set(body, HEAD_BYTES);
  return out;
}

export interface DecodeLink {
  /** Of the object. */
  readonly name: string;
  readonly number: number;
  readonly seal: Seal;
  /** The archive, for messages. */
  readonly place: string;
}

type Parsed = v.InferOutput<typeof schema>;

/** Throws `UserError`. */
export async function decodeLink(bytes: Uint8Array, of: DecodeLink): Promise<Link> {
  const parsed = await parse(bytes, of);
  if (parsed.kind === "snapshot") return parsed;
  if (parsed.kind === "segment") return { ...parsed, entries: entriesOf(parsed) };
  throw damagedLink(`${of.name} of the archive ${of.place} has several links`);
}

/** Throws `UserError`. */
export async function decodeMerged(bytes: Uint8Array, of: DecodeLink): Promise<MergedLink> {
  const parsed = await parse(bytes, of);
  if (parsed.kind !== "merged")
    throw damagedLink(`${of.name} of the archive ${of.place} has no merged links`);
  const { hash, ...link } = parsed;
  return { link: { ...link, kind: "segment", entries: entriesOf(parsed) }, hash };
}

const entriesOf = ({ entries }: Exclude<Parsed, { kind: "snapshot" }>): Entry[][] =>
  entries.map((list) =>
    list.map(([term, at, type, data]) => ({ term, index: at, type: type as EntryType, data })),
  );

async function parse(bytes: Uint8Array, { name: object, number, seal, place }: DecodeLink): Promise<Parsed> {
  const name = `${object} of the archive ${place}`;
  if (bytes.length < HEAD_BYTES || !MAGIC.subarray(0, 4).every((byte, i) => bytes[i] === byte))
    throw damagedLink(`${name} is no object of an archive`);
  if (bytes[4] !== LINK_FORMAT)
    throw new UserError(
      `${name} is of format ${bytes[4]}; this build knows formats up to ${LINK_FORMAT}`,
      "run the marmot version that wrote it, or a newer one",
    );
  const body = bytes.subarray(HEAD_BYTES);
  const sum = new Bun.CryptoHasher("sha256").update(body).digest();
  if (!sum.every((byte, i) => bytes[MAGIC.length + i] === byte))
    throw damagedLink(`${name} was changed or is incomplete`);
  const opened = seal.open(body, object);
  if (opened === null) throw damagedLink(`${name} is not encrypted with this key, or was changed`);
  try {
    const parsed = v.parse(schema, packr.unpack(await decompress(opened)));
    if (parsed.number !== number) throw new Error(`it is number ${parsed.number}`);
    return parsed;
  } catch (error) {
    throw damagedLink(`${name} cannot be read: ${errorMessage(error)}`);
  }
}

class DamagedLink extends UserError {}

export const isDamagedLink = (error: unknown): boolean => error instanceof DamagedLink;

export const damagedLink = (message: string): UserError =>
  new DamagedLink(
    message,
    "marmot archive verify ARCHIVE names the positions that can be restored; a running cluster needs a new --archive",
  );
