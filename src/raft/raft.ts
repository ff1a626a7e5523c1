/** The Raft machine's face. (Bodies follow.) */
import type { RaftOptions } from "./options.ts";
import type { Ready } from "./ready.ts";
import type { RaftStatus, Role } from "./status.ts";
import type { ConfigChange, Configuration, MemberId, Message } from "./types.ts";

export { decodeConfigChange, encodeConfigChange } from "./config-change.ts";
export { newMessage } from "./message.ts";
export type { RaftOptions, RaftStorage } from "./options.ts";
export type { Ready } from "./ready.ts";
export type { ProgressStatus, RaftStatus, Role } from "./status.ts";

/**
 * `accepted`: appended here, by the leader. `forwarded`: sent to the leader, whose answer is the entry or nothing.
 * `dropped`: definite, in no log through this call.
 */
export type ProposeResult = "accepted" | "forwarded" | "dropped";

export declare class Raft {
  constructor(options: RaftOptions);
  readonly id: MemberId;
  readonly role: Role;
  readonly isLeader: boolean;
  readonly leader: MemberId;
  readonly term: number;
  readonly commit: number;
  readonly lastIndex: number;
  readonly applied: number;
  readonly configuration: Configuration;
  tick(): void;
  step(message: Message): void;
  campaign(): void;
  propose(data: Uint8Array): ProposeResult;
  proposeConfigChange(change: ConfigChange): ProposeResult;
  transferLeader(to: MemberId): void;
  hasReady(): boolean;
  ready(): Ready;
  advance(ready: Ready): void;
  appliedTo(index: number): void;
  applyConfigChange(change: ConfigChange, entryIndex: number): Configuration;
  reportUnreachable(member: MemberId): void;
  reportSnapshot(member: MemberId, ok: boolean): void;
  status(): RaftStatus;
}
