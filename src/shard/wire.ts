/**
 * Raft messages of all groups to one peer, as one MessagePack array: [version, [shard, message] …]. Decoding is
 * strict: other
 * bytes are a `WireError`, and their stream is closed.
 */
import { Packr } from "msgpackr";
import { packExact } from "../base/pack.ts";
import { EMPTY_BYTES } from "../base/bytes.ts";
import {
  type Entry,
  EntryType,
  type Message,
  MessageType,
  type SnapshotMetadata,
} from "../raft/model/types.ts";
import type { ShardId } from "./seams.ts";

/** The version that is written; messages of another one are refused. */
const VERSION = 1;
/** No election produces a term beyond this. */
const MAX_TERM = 2 ** 40;
const MAX_INDEX = 2 ** 40;
const TYPES: ReadonlySet<unknown> = new Set(Object.values(MessageType));

/** The bytes are no messages of this version. */
export class WireError extends Error {
  override name = "WireError";
}

export interface GroupMessage {
  readonly shard: ShardId;
  readonly message: Message;
}

/** Decoded bytes are views of the message. */
const packr = new Packr({ useRecords: false } as object);
/** Data of entries below this size gets memory of its own: it would keep a whole message. */
const OWN_BYTES = 16 << 10;
/** An entry without its data. */
const ENTRY_BYTES = 32;

/** `kind`: a byte before the messages; absent: none. */
export function encodeMessages(messages: readonly GroupMessage[], kind?: number): Uint8Array {
  let expectedBytes = 0;
  for (const { message } of messages)
    for (const { data } of message.entries) expectedBytes += data.length + ENTRY_BYTES;
  const first = kind === undefined ? {} : { first: kind };
  return packExact(packr, [VERSION, ...messages.map(packMessage)], { expectedBytes, ...first });
}

function packMessage({ shard, message: m }: GroupMessage): unknown[] {
  const entries: unknown[] = [];
  for (const entry of m.entries) entries.push(entry.term, entry.index, entry.type, entry.data);
  const snapshot = m.snapshot === null ? null : [m.snapshot.index, m.snapshot.term, m.snapshot.configuration];
  return [
    shard,
    m.type,
    m.from,
    m.to,
    m.term,
    m.logTerm,
    m.index,
    m.commit,
    m.commitTerm,
    m.reject,
    m.rejectHint,
    entries,
    snapshot,
    m.context.length === 0 ? null : m.context,
  ];
}

const isCount = (x: unknown, limit: number): x is number =>
  typeof x === "number" && Number.isInteger(x) && x >= 0 && x <= limit;

function count(x: unknown, limit: number, field: string): number {
  if (!isCount(x, limit)) throw new WireError(`${field} is not a number from 0 to ${limit}`);
  return x;
}

/** Throws `WireError`. `shards`: how many groups there are. */
export function decodeMessages(bytes: Uint8Array, shards: number): GroupMessage[] {
  let decoded: unknown;
  try {
    decoded = packr.unpack(bytes);
  } catch (error) {
    throw new WireError("not MessagePack", { cause: error });
  }
  if (!Array.isArray(decoded) || decoded[0] !== VERSION) throw new WireError("not messages of this version");
  return decoded.slice(1).map((packed) => unpackMessage(packed, shards));
}

function unpackMessage(packed: unknown, shards: number): GroupMessage {
  if (!Array.isArray(packed) || packed.length !== 14) throw new WireError("a message has 14 fields");
  const [shard, type, from, to, term, logTerm, index, commit, commitTerm, reject, rejectHint] =
    packed as unknown[];
  const [entries, snapshot, context] = packed.slice(11) as unknown[];
  if (!TYPES.has(type)) throw new WireError("a message of an unknown type");
  if (typeof reject !== "boolean") throw new WireError("reject is not a boolean");
  if (context !== null && !(context instanceof Uint8Array)) throw new WireError("context is not bytes");
  return {
    shard: count(shard, shards - 1, "shard"),
    message: {
      type: type as MessageType,
      from: count(from, MAX_INDEX, "from"),
      to: count(to, MAX_INDEX, "to"),
      term: count(term, MAX_TERM, "term"),
      logTerm: count(logTerm, MAX_TERM, "logTerm"),
      index: count(index, MAX_INDEX, "index"),
      commit: count(commit, MAX_INDEX, "commit"),
      commitTerm: count(commitTerm, MAX_TERM, "commitTerm"),
      reject,
      rejectHint: count(rejectHint, MAX_INDEX, "rejectHint"),
      entries: unpackEntries(entries),
      snapshot: snapshot === null ? null : unpackSnapshot(snapshot),
      context: context?.slice() ?? EMPTY_BYTES,
    },
  };
}

function unpackEntries(packed: unknown): Entry[] {
  if (!Array.isArray(packed) || packed.length % 4 !== 0) throw new WireError("entries are not in fours");
  const entries: Entry[] = [];
  for (let i = 0; i < packed.length; i += 4) {
    const [term, index, type, data] = packed.slice(i, i + 4) as unknown[];
    if (type !== EntryType.normal && type !== EntryType.configChange)
      throw new WireError("an entry of an unknown type");
    if (!(data instanceof Uint8Array)) throw new WireError("an entry's data is not bytes");
    entries.push({
      term: count(term, MAX_TERM, "term"),
      index: count(index, MAX_INDEX, "index"),
      type,
      data: data.length < OWN_BYTES ? data.slice() : data,
    });
  }
  return entries;
}

function unpackSnapshot(packed: unknown): SnapshotMetadata {
  if (!Array.isArray(packed) || packed.length !== 3) throw new WireError("a snapshot has three fields");
  const [index, term, configuration] = packed as unknown[];
  const c = configuration as Record<string, unknown> | null;
  if (typeof c !== "object" || c === null) throw new WireError("a configuration is an object");
  const ids = (name: string): number[] => {
    const list = c[name];
    if (!Array.isArray(list) || list.length > 1000) throw new WireError(`${name} is not a list`);
    return list.map((id) => count(id, MAX_INDEX, name));
  };
  return {
    index: count(index, MAX_INDEX, "index"),
    term: count(term, MAX_TERM, "term"),
    configuration: {
      voters: ids("voters"),
      votersOutgoing: ids("votersOutgoing"),
      learners: ids("learners"),
      learnersNext: ids("learnersNext"),
      autoLeave: c.autoLeave === true,
    },
  };
}
