/**
 * Messages between nodes beside Raft: joining, promotion, positions, checksums. JSON, validated by a schema each. A message
 * of an unknown kind is ignored, so that nodes of different versions can work together while a cluster is updated.
 */
import * as v from "valibot";
import { fromUtf8, utf8 } from "../../base/bytes.ts";
import { MessageKind, withKind } from "../../shard/frames.ts";

const MAX_TEXT = 4096;
const MAX_SHARDS = 64;
/** Members of a cluster are far fewer. */
export const MAX_LIVES = 64;

const text = v.pipe(v.string(), v.maxLength(MAX_TEXT));
const integer = v.pipe(v.number(), v.safeInteger());
/** A number for each shard. */
const vector = v.pipe(v.array(integer), v.maxLength(MAX_SHARDS), v.readonly());
const role = v.picklist(["voter", "learner"]);

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

const HELLO = v.pipe(
  v.object({
    /** "" while a node joins. */
    clusterId: v.string(),
    name: v.string(),
    version: v.string(),
    /** A role that this version does not know must not end the connection. */
    role: v.fallback(role, "learner"),
    /** Format of wire, log entries and snapshots, each. */
    formats: v.strictTuple([v.number(), v.number(), v.number()]),
    /** Random for each process, also of a node that joins. */
    nonce: v.optional(text),
    /** Absent while a node joins, or waits for room on its disk. */
    life: v.optional(LIFE),
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

const CONTROL = {
  /** `nonce` is the same in all requests of one join, so that it is admitted once; older builds have none. */
  join: v.object({ kind: v.literal("join"), name: text, role, nonce: v.optional(text) }),
  joined: v.object({ kind: v.literal("joined"), member: integer, clusterId: text, shards: integer }),
  /** The sender's life, when it changes on an open connection. */
  life: v.object({ kind: v.literal("life"), life: LIFE }),
  /** The receiver must stop: see `RefusalCode`. Sent where the connection is open already. */
  refused: v.object({ kind: v.literal("refused"), reason: text }),
  /** Another process has the receiver's identity and was refused. */
  twin: v.object({ kind: v.literal("twin") }),
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
