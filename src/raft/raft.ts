/**
 * One Raft group as a state machine: ticks, messages and proposals go in, `Ready` comes out. It has no clock, disk,
 * network or random source inside. Each rule lives in the file named after it; this class is their common interface.
 *
 * The folders form a line; each one imports only folders to its left:
 *
 *     model ← membership ← log ← core ← requests ← election ← replication ← raft.ts, step.ts, tick.ts
 *
 * model: values, options, `Ready`. membership: configurations and quorums as values. log: the log with its cursors.
 * core: the state that all rules share. requests: proposals and reads. election: roles, votes, leadership transfer.
 * replication: both sides of appending, and a configuration that changes while the group runs.
 */
import { assert } from "../base/assert.ts";
import { broadcastHeartbeat, flushAppends, wantsAppends } from "./replication/appends.ts";
import { Core } from "./core/core.ts";
import { campaign, handleSelfVotePersisted } from "./election/election.ts";
import type { RaftOptions } from "./model/options.ts";
import { proposeConfigChange, propose, type ProposeResult } from "./requests/proposals.ts";
import type { Ready } from "./model/ready.ts";
import { askForReads, mayAskForReads, readIndex, type ReadResult } from "./requests/reads.ts";
import { applyConfigChange, maybeLeaveJoint } from "./replication/reconfigure.ts";
import { acknowledgeSelf, reportSnapshot, reportUnreachable } from "./replication/replication.ts";
import type { RaftStatus, Role } from "./model/raft-status.ts";
import { step } from "./step.ts";
import { tick } from "./tick.ts";
import { transferLeader } from "./election/leader-transfer.ts";
import {
  type ConfigChange,
  type Configuration,
  type Entry,
  EntryType,
  type HardState,
  type MemberId,
  type Message,
} from "./model/types.ts";

export { decodeConfigChange, encodeConfigChange } from "./membership/config-change.ts";
export { newMessage } from "./model/message.ts";
export type { RaftOptions, RaftStorage } from "./model/options.ts";
export type { ProposeResult } from "./requests/proposals.ts";
export type { ReadResult } from "./requests/reads.ts";
export type { Ready, ReadState } from "./model/ready.ts";
export type { ProgressStatus, RaftStatus, Role } from "./model/raft-status.ts";

export class Raft {
  readonly #core: Core;
  /** The hard state on disk, or in the ready that is out. */
  #hardState: HardState;
  /**
   * The ready that is out, and the term in which it persists this candidate's vote for itself; 0: it persists none.
   */
  #out: Ready | null = null;
  #outVoteTerm = 0;

  constructor(options: RaftOptions) {
    this.#core = new Core(options);
    this.#hardState = options.storage.hardState;
  }

  get id(): MemberId {
    return this.#core.id;
  }

  get role(): Role {
    return this.#core.role;
  }

  get isLeader(): boolean {
    return this.#core.isLeader;
  }

  /** 0: unknown. */
  get leader(): MemberId {
    return this.#core.leader;
  }

  get term(): number {
    return this.#core.term;
  }

  get commit(): number {
    return this.#core.log.commit;
  }

  get applied(): number {
    return this.#core.log.applied;
  }

  get lastIndex(): number {
    return this.#core.log.lastIndex;
  }

  /** Ticks since the leader was last heard; 0 on the leader. A member that campaigns starts counting again. */
  get silentTicks(): number {
    return this.#core.isLeader ? 0 : this.#core.electionElapsed;
  }

  get configuration(): Configuration {
    return this.#core.configuration;
  }

  /** One unit of time has passed. `isBeat`: a leader sends heartbeats now, or does not; absent: as its options say. */
  tick(isBeat?: boolean): void {
    tick(this.#core, isBeat);
  }

  /** Handles a message of another member. Neither side changes its contents afterwards. */
  step(message: Message): void {
    step(this.#core, message);
  }

  /**
   * Starts an election now, with a pre-vote if enabled. Does nothing on a leader and on a member that may not
   * campaign.
   */
  campaign(): void {
    campaign(this.#core, this.#core.options.preVote ? "preVote" : "vote");
  }

  propose(data: Uint8Array): ProposeResult {
    return propose(this.#core, EntryType.normal, data);
  }

  /** Also dropped while another change is in progress, and when no valid configuration results. */
  proposeConfigChange(change: ConfigChange): ProposeResult {
    return proposeConfigChange(this.#core, change);
  }

  /**
   * Requests an index; a state that has applied it shows every write acknowledged by now (thesis §6.4). Served here
   * or by the
   * leader, if this is a follower or learner. The answer arrives in a ready, with `context`, which need not be
   * unique.
   */
  readIndex(context: Uint8Array): ReadResult {
    return readIndex(this.#core, context);
  }

  transferLeader(to: MemberId): void {
    transferLeader(this.#core, to);
  }

  hasReady(): boolean {
    const core = this.#core;
    return (
      core.messages.length > 0 ||
      core.messagesAfterPersist.length > 0 ||
      core.log.stable < core.log.lastIndex ||
      core.log.hasCommitted ||
      core.log.pendingSnapshot !== null ||
      this.#hardStateMoved() ||
      wantsAppends(core) ||
      core.reads.outcomes.length > 0 ||
      mayAskForReads(core)
    );
  }

  /** All pending work. Only one ready is out at a time: `advance` returns it. */
  ready(): Ready {
    assert(this.#out === null, "the ready before is advanced first");
    const core = this.#core;
    flushAppends(core);
    if (askForReads(core)) broadcastHeartbeat(core);
    const committed = core.log.takeCommitted();
    releaseQuota(core, committed);
    const before = this.#hardState;
    const moved = this.#hardStateMoved();
    if (moved) this.#hardState = { term: core.term, vote: core.vote, commit: core.log.commit };
    const entries = core.log.unstable();
    const snapshot = core.log.pendingSnapshot;
    const promised = before.term !== core.term || before.vote !== core.vote;
    const ready: Ready = {
      hardState: moved ? this.#hardState : null,
      entries,
      snapshot,
      committed,
      messages: core.messages,
      messagesAfterPersist: core.messagesAfterPersist,
      readStates: core.reads.outcomes,
      mustSync: promised || entries.length > 0 || snapshot !== null,
    };
    core.messages = [];
    core.messagesAfterPersist = [];
    core.reads.outcomes = [];
    this.#out = ready;
    this.#outVoteTerm = core.role === "candidate" ? core.term : 0;
    return ready;
  }

  /** The ready is persisted, its messages are sent, its committed entries are handed over and its changes applied. */
  advance(ready: Ready): void {
    assert(ready === this.#out, "the ready that is out is advanced");
    this.#out = null;
    const core = this.#core;
    core.log.persisted(ready.entries, ready.snapshot);
    const last = ready.committed.at(-1);
    if (last !== undefined) core.configurationIndex = Math.max(core.configurationIndex, last.index);
    if (this.#outVoteTerm !== 0) handleSelfVotePersisted(core, this.#outVoteTerm);
    if (core.isLeader) acknowledgeSelf(core);
    maybeLeaveJoint(core);
  }

  /**
   * The state has applied everything up to `index`, which no longer counts against `maxApplyBytes`. May lag behind
   * the
   * entries handed out, or be ahead of them where a state was installed: those entries are still handed out, for
   * their changes.
   */
  appliedTo(index: number): void {
    this.#core.log.appliedTo(index);
  }

  /** Called for every committed change, in order, before `advance`. Returns the new configuration. */
  applyConfigChange(change: ConfigChange, entryIndex: number): Configuration {
    return applyConfigChange(this.#core, change, entryIndex);
  }

  /**
   * The member said that it is busy: for so many ticks its silence is no reason to campaign, or to step down. 0: it is not,
   * or its connection ended. Elections of others and their votes are as ever.
   */
  memberBusy(member: MemberId, ticks: number): void {
    if (ticks > 0) this.#core.busy.set(member, ticks);
    else this.#core.busy.delete(member);
  }

  /** Messages to this member were probably lost. */
  reportUnreachable(member: MemberId): void {
    reportUnreachable(this.#core, member);
  }

  /** Reports whether this member received the snapshot that was offered to it. */
  reportSnapshot(member: MemberId, ok: boolean): void {
    reportSnapshot(this.#core, member, ok);
  }

  /** For display; built for each call. */
  status(): RaftStatus {
    const { id, term, vote, log, role, leader, configuration, transferee, progress, reads } = this.#core;
    const { commit, applied, lastIndex } = log;
    const places = { commit, applied, lastIndex, reads: reads.size };
    const common = { id, term, vote, ...places, role, leader, configuration, transferee };
    if (!this.isLeader) return common;
    return { ...common, progress: new Map([...progress].map(([member, one]) => [member, one.status()])) };
  }

  #hardStateMoved(): boolean {
    const { term, vote, log } = this.#core;
    const saved = this.#hardState;
    return saved.term !== term || saved.vote !== vote || saved.commit !== log.commit;
  }
}

/** Entries that are handed out make room for proposals; entries of earlier leaders were never counted. */
function releaseQuota(core: Core, committed: readonly Entry[]): void {
  if (core.uncommittedBytes === 0) return;
  let bytes = core.uncommittedBytes;
  for (const entry of committed) if (entry.term === core.term) bytes -= entry.data.length;
  core.uncommittedBytes = Math.max(0, bytes);
}
