/**
 * Messages between nodes beside Raft: joining, promotion, positions, checksums. JSON, validated by a schema each. A message
 * of an unknown kind is ignored, so that nodes of different versions can work together while a cluster is updated.
 */
import * as v from "valibot";
import { fromUtf8, utf8 } from "../../base/bytes.ts";
import { visible } from "../../base/visible.ts";
import { asPeerId } from "../../base/ids.ts";
import { MAX_EPOCHS } from "../../shard/epochs.ts";
import { CONFIGURATION } from "../../snapshot/header.ts";
import { MessageKind, withKind } from "../../shard/frames.ts";
import { TOLD_FORMATS } from "../formats/told-formats.ts";

const MAX_TEXT = 4096;
const MAX_SHARDS = 64;
const MAX_PEER_ID = 128;
/** Nodes of a new cluster that one message names. */
const MAX_MET = 64;
/** Cluster keys of a node that are told. */
export const MAX_KEYS = 16;
/** Members of a cluster are far fewer. */
export const MAX_LIVES = 64;

/** As it may be printed. */
const text = v.pipe(v.string(), v.maxLength(MAX_TEXT), v.transform(visible));
/** In a hello, whose size is bounded. */
const shown = v.pipe(v.string(), v.transform(visible));
const integer = v.pipe(v.number(), v.safeInteger());
/** A number for each shard. */
const vector = v.pipe(v.array(integer), v.maxLength(MAX_SHARDS), v.readonly());
/** A role of a newer build is a learner for this one: a malformed message would end the connection. */
const anyRole = v.fallback(v.picklist(["voter", "learner"]), "learner");
const peer = v.pipe(v.string(), v.maxLength(MAX_PEER_ID), v.transform(visible), v.transform(asPeerId));

/** Identifies one process of a member. Older builds do not send it. */
const LIFE = v.pipe(
  v.object({
    member: integer,
    /** The newest incarnation that this process has opened. */
    incarnation: integer,
    nonce: text,
    /** Per shard, the end of the log and the term of its hard state. */
    logs: v.pipe(
      v.array(v.pipe(v.object({ term: integer, lastIndex: integer }), v.readonly())),
      v.maxLength(MAX_SHARDS),
      v.readonly(),
    ),
  }),
  v.readonly(),
);

export type Life = v.InferOutput<typeof LIFE>;

/** See `shard/epochs.ts`. Older builds do not send them. */
const EPOCHS = v.pipe(
  v.array(
    v.pipe(v.object({ number: integer, id: text, by: peer, starts: vector, signature: text }), v.readonly()),
  ),
  v.maxLength(MAX_EPOCHS),
  v.readonly(),
);

const HELLO = v.pipe(
  v.object({
    /** "" while a node joins. */
    clusterId: shown,
    name: shown,
    version: shown,
    role: anyRole,
    /** For release 0.1.0, which compares them: see `HELLO_FORMATS`. */
    formats: v.array(v.number()),
    /** The versions of each format that the node reads; absent: those of release 0.1.0. */
    speaks: v.optional(TOLD_FORMATS),
    /** Random for each process, also of a node that joins. */
    nonce: v.optional(text),
    /** Absent while a node joins, or waits for room on its disk. */
    life: v.optional(LIFE),
    /** Absent while a node joins, and from older builds. */
    epochs: v.optional(EPOCHS),
  }),
  v.readonly(),
);

/** The first message on each stream. */
export type Hello = v.InferOutput<typeof HELLO>;

/** The positions and the state of a node. */
const NEWS = {
  name: text,
  version: text,
  ready: v.fallback(v.boolean(), false),
  applied: vector,
  reflected: vector,
  /** Digest of the node's `--functions` and `--load-extension`; "": it has none, or is of an older version. */
  functions: v.optional(text, ""),
  /** Rows of other nodes that its file does not show, since it cannot write their tables. */
  waiting: v.optional(integer, 0),
  /** The version of SQLite that its application writes with, as a number. Older builds do not tell, or it is not known. */
  sqlite: v.optional(integer),
  /** The peers that the node is connected to, and the addresses that it tells peers; older builds do not tell. */
  reaches: v.optional(v.pipe(v.array(peer), v.maxLength(MAX_MET), v.readonly())),
  addresses: v.optional(v.pipe(v.array(text), v.maxLength(MAX_MET), v.readonly())),
  /** Fingerprints of the cluster keys that the node accepts; it dials with the first. Older builds do not tell. */
  keys: v.optional(v.pipe(v.array(text), v.maxLength(MAX_KEYS), v.readonly())),
  /** The members as the node knows them: id and peer. Older builds do not tell. */
  members: v.optional(
    v.pipe(v.array(v.pipe(v.tuple([integer, peer]), v.readonly())), v.maxLength(MAX_LIVES), v.readonly()),
  ),
  /** Per shard, the member that leads it, 0: none. Older builds do not tell. */
  leaders: v.optional(vector),
  /** Per shard, the position from which a receiver of this node's replica needs the log. */
  holds: v.optional(vector),
  /** The latest lives that the node has met: peer, member id, incarnation, nonce. Older builds do not send them. */
  lives: v.optional(
    v.pipe(
      v.array(v.pipe(v.tuple([text, integer, integer, text]), v.readonly())),
      v.maxLength(MAX_LIVES),
      v.readonly(),
    ),
  ),
};

/** Position and [table, sum]; null: the shard has not reached the check yet. */
const SUMS = v.nullable(
  v.object({
    index: integer,
    sums: v.pipe(v.array(v.pipe(v.tuple([integer, text]), v.readonly())), v.readonly()),
  }),
);

/** How a node's own file compares with its replica. */
const FILE_CHECK = {
  state: v.picklist(["comparing", "compared", "failed"]),
  rows: integer,
  /** All of them; `differences` has the first. */
  different: integer,
  differences: v.pipe(
    v.array(v.pipe(v.object({ table: text, key: text, detail: text }), v.readonly())),
    v.readonly(),
  ),
  /** Why it failed, in a sentence, or "". */
  reason: text,
};

const JOIN = {
  name: text,
  role: anyRole,
  /** The same in all requests of one join, so that it is admitted once; older builds have none. */
  nonce: v.optional(text),
  /** The learner wants to be a reader. */
  reader: v.optional(v.boolean()),
  /** The role was chosen, and must not be another one; older builds do not tell. */
  chosen: v.optional(v.boolean()),
};

const CONTROL = {
  join: v.object({ kind: v.literal("join"), ...JOIN }),
  joined: v.object({
    kind: v.literal("joined"),
    member: integer,
    clusterId: text,
    shards: integer,
    /** See `slots.ts`; older builds do not send it. */
    place: v.optional(v.pipe(v.object({ slot: integer, slots: integer }), v.readonly())),
    /** The node was admitted as a reader. */
    reader: v.optional(v.boolean()),
  }),
  /** The sender has received a replica. */
  received: v.object({ kind: v.literal("received") }),
  /** The sender's life, when it changes on an open connection. */
  life: v.object({ kind: v.literal("life"), life: LIFE, epochs: v.optional(EPOCHS) }),
  /** The receiver must stop: see `RefusalCode`. Sent where the connection is open already. */
  refused: v.object({ kind: v.literal("refused"), reason: text }),
  /** The sender handles large entries, and may be silent for so many milliseconds. */
  busy: v.object({ kind: v.literal("busy"), ms: v.pipe(integer, v.minValue(0)) }),
  /** The newest epochs that the sender knows, on an open connection. */
  epochs: v.object({ kind: v.literal("epochs"), epochs: EPOCHS }),
  /**
   * A learner of an earlier epoch asks the node that began the newest one: the last epoch of the learner, "" for none, and per
   * shard the index and the term of its last committed entry. See `followers.ts`.
   */
  follow: v.object({
    kind: v.literal("follow"),
    after: text,
    ends: v.pipe(
      v.array(v.pipe(v.tuple([integer, integer]), v.readonly())),
      v.maxLength(MAX_SHARDS),
      v.readonly(),
    ),
  }),
  /** The answer: the learner is a member of these configurations, one per shard. Or `refused`. */
  followed: v.object({
    kind: v.literal("followed"),
    configurations: v.pipe(v.array(CONFIGURATION), v.maxLength(MAX_SHARDS), v.readonly()),
    life: v.optional(LIFE),
  }),
  /** Another process has the receiver's identity and was refused. */
  twin: v.object({ kind: v.literal("twin") }),
  /** A member forwards the join of a peer to the leader. */
  forward: v.object({ kind: v.literal("forward"), peerId: peer, ...JOIN }),
  /** Between nodes of a new cluster: see `meeting.ts`. */
  meet: v.object({
    kind: v.literal("meet"),
    name: text,
    role: anyRole,
    expect: integer,
    data: text,
    sees: v.pipe(v.array(peer), v.maxLength(MAX_MET), v.readonly()),
    gives: peer,
  }),
  /** A change of a member, for the leader of group 0; the answer has the same id. */
  change: v.object({
    kind: v.literal("change"),
    id: text,
    action: v.picklist(["promote", "demote", "remove", "rename"]),
    member: integer,
    /** The new name. */
    to: v.optional(text),
  }),
  changed: v.object({
    kind: v.literal("changed"),
    id: text,
    state: v.picklist(["done", "proposed", "not leader", "refused"]),
    reason: text,
  }),
  /** A node that was admitted does not become a member after all. The answer is `changed`, with the nonce as its id. */
  leave: v.object({ kind: v.literal("leave"), nonce: text }),
  promote: v.object({ kind: v.literal("promote") }),
  tell: v.object({ kind: v.literal("tell") }),
  news: v.object({ kind: v.literal("news"), ...NEWS }),
  "sums?": v.object({ kind: v.literal("sums?"), note: text }),
  sums: v.object({
    kind: v.literal("sums"),
    note: text,
    shards: v.pipe(v.array(SUMS), v.maxLength(MAX_SHARDS), v.readonly()),
  }),
  "file?": v.object({ kind: v.literal("file?"), note: text }),
  file: v.object({ kind: v.literal("file"), note: text, ...FILE_CHECK }),
} as const;
type Kind = keyof typeof CONTROL;

export type Control = { [K in Kind]: Readonly<v.InferOutput<(typeof CONTROL)[K]>> }[Kind];
export type NodeNews = Omit<Extract<Control, { kind: "news" }>, "kind">;

export type FileCheck = Omit<Extract<Control, { kind: "file" }>, "kind" | "note">;

export const encodeControl = (control: Control): Uint8Array =>
  withKind(MessageKind.control, utf8(JSON.stringify(control)));

/** `body`: without the kind byte. Throws for bytes that are no control message; null: the kind is unknown. */
export function decodeControl(body: Uint8Array): Control | null {
  const value: unknown = JSON.parse(fromUtf8(body));
  const { kind } = v.parse(v.object({ kind: v.string() }), value);
  if (!Object.hasOwn(CONTROL, kind)) return null;
  const result = v.safeParse(CONTROL[kind as Kind], value);
  if (!result.success) throw new Error(`a malformed ${kind} message: ${v.summarize(result.issues)}`);
  return result.output;
}

export const encodeHello = (hello: Hello): Uint8Array => utf8(JSON.stringify(hello));

/** null: not a hello. */
export function decodeHello(bytes: Uint8Array): Hello | null {
  try {
    const result = v.safeParse(HELLO, JSON.parse(fromUtf8(bytes)));
    return result.success ? result.output : null;
  } catch {
    return null;
  }
}
