/** Builds messages with every field present, in one order, so that all messages share one hidden class. */
import { EMPTY_BYTES } from "../../base/bytes.ts";
import type { Entry, MemberId, Message, MessageType } from "./types.ts";

const NO_ENTRIES: readonly Entry[] = [];

/** The required fields of a message; the others have defaults. */
export type MessageFields = Partial<Message> & { readonly type: MessageType; readonly to: MemberId };

export function newMessage(fields: MessageFields): Message {
  return {
    type: fields.type,
    from: fields.from ?? 0,
    to: fields.to,
    term: fields.term ?? 0,
    logTerm: fields.logTerm ?? 0,
    index: fields.index ?? 0,
    commit: fields.commit ?? 0,
    commitTerm: fields.commitTerm ?? 0,
    reject: fields.reject ?? false,
    rejectHint: fields.rejectHint ?? 0,
    entries: fields.entries ?? NO_ENTRIES,
    snapshot: fields.snapshot ?? null,
    context: fields.context ?? EMPTY_BYTES,
  };
}
