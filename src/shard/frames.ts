/** What a message between two nodes is about: one byte in front. Raft's own are the first kind; others are control. */

export const MessageKind = {
  /** Raft messages of all groups. */
  raft: 0,
  /** A request of `cluster/` or `node/`, and its answer: MessagePack. */
  control: 1,
} as const;
export type MessageKind = (typeof MessageKind)[keyof typeof MessageKind];

export function withKind(kind: MessageKind, body: Uint8Array): Uint8Array {
  const out = new Uint8Array(1 + body.length);
  out[0] = kind;
  out.set(body, 1);
  return out;
}
