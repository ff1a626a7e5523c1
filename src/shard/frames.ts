/** The kind of a message between two nodes, in one byte at its front: Raft or control. */

export const MessageKind = {
  /** Raft messages of all groups. */
  raft: 0,
  /** A control message of src/replication, or the answer to one: MessagePack. */
  control: 1,
} as const;
export type MessageKind = (typeof MessageKind)[keyof typeof MessageKind];

export function withKind(kind: MessageKind, body: Uint8Array): Uint8Array {
  const out = new Uint8Array(1 + body.length);
  out[0] = kind;
  out.set(body, 1);
  return out;
}
