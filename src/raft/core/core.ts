/**
 * The state that all rules share: term, vote, role, log, progress of the members, and the two outboxes. It holds only
 * trivial
 * rules; every other rule is in the file named after its concern.
 */
import { assert } from "../../base/assert.ts";
import type { Random } from "../../base/random.ts";
import { RaftLog } from "../log/log.ts";
import { isVoter } from "../membership/membership.ts";
import { newMessage, type MessageFields } from "../model/message.ts";
import { checkOptions, type RaftOptions } from "../model/options.ts";
import { AppendReason, type Progress } from "./member-progress.ts";
import { quorumVote, type VoteResult } from "../membership/quorum.ts";
import { ReadQueue } from "./read-queue.ts";
import type { Role } from "../model/raft-status.ts";
import {
  type Configuration,
  type HardState,
  type MemberId,
  type Message,
  MessageType,
} from "../model/types.ts";

export class Core {
  readonly id: MemberId;
  readonly options: RaftOptions;
  readonly random: Random;
  readonly log: RaftLog;
  readonly reads: ReadQueue;

  term: number;
  vote: MemberId;
  role: Role = "follower";
  /** 0: unknown. */
  leader: MemberId = 0;
  configuration: Configuration;
  /** Committed changes at and below this index are in `configuration`. */
  configurationIndex: number;

  /** Ticks since an election or a message of the leader; on a leader, since it last counted its quorum. */
  electionElapsed = 0;
  heartbeatElapsed = 0;
  /** This round's election timeout in ticks. */
  electionTimeout = 0;
  /** Answers of this round. Only the first vote of a member counts. */
  readonly votes = new Map<MemberId, boolean>();

  // On a leader only:
  /** Every member, itself included. Empty on others. */
  readonly progress = new Map<MemberId, Progress>();
  /** Applies to all members, as `Progress.reason` does to one. */
  appendReason: AppendReason = AppendReason.none;
  /** Target of a leadership transfer; 0: none in progress. */
  transferee: MemberId = 0;
  /** No configuration change is proposed before this index is applied to `configuration`. */
  pendingConfigIndex = 0;
  /** Bytes of data of own entries that were not handed out yet. */
  uncommittedBytes = 0;

  /** Members that said they are busy, with the ticks for which their silence proves nothing. */
  readonly busy = new Map<MemberId, number>();

  messages: Message[] = [];
  messagesAfterPersist: Message[] = [];

  constructor(options: RaftOptions) {
    checkOptions(options);
    const { storage, applied } = options;
    const saved: HardState = storage.hardState;
    this.id = options.id;
    this.options = options;
    this.random = options.random;
    this.reads = new ReadQueue(options.random);
    this.configuration = options.configuration;
    this.configurationIndex = Math.max(applied, options.configurationIndex ?? applied);
    // Everything applied, to the state or to the configuration, was committed, even if the commit index was not saved
    // in time.
    const known = Math.min(Math.max(this.configurationIndex, options.committed ?? 0), storage.lastIndex());
    const commit = Math.max(saved.commit, applied, known);
    this.log = new RaftLog(storage, commit, applied, options.maxApplyBytes);
    const { appliedTerm } = options;
    assert(
      appliedTerm === undefined || this.log.matches(applied, appliedTerm),
      `the state is at entry ${applied} of term ${appliedTerm}, the log has term ${this.log.term(applied)} there`,
    );
    // A log made by a cluster bootstrap or a snapshot may have a newer term than the saved one: that term began,
    // without a vote.
    this.term = Math.max(saved.term, this.log.lastTerm);
    this.vote = this.term === saved.term ? saved.vote : 0;
    this.resetElectionTimer();
  }

  get isLeader(): boolean {
    return this.role === "leader";
  }

  /** True: this member may campaign. Learners, removed members and members that wait for a snapshot may not. */
  get promotable(): boolean {
    return isVoter(this.configuration, this.id) && this.log.pendingSnapshot === null;
  }

  /** True: this member heard its leader within an election timeout, so it supports no other candidate. */
  get inLease(): boolean {
    return this.options.checkQuorum && this.leader !== 0 && this.electionElapsed < this.options.electionTicks;
  }

  resetElectionTimer(): void {
    this.electionElapsed = 0;
    this.electionTimeout = this.options.electionTicks + this.random.below(this.options.electionTicks);
  }

  tallyVotes(): VoteResult {
    return quorumVote(this.configuration, (member) => this.votes.get(member));
  }

  /** May leave at once. The default term is this member's. */
  send(fields: MessageFields): void {
    this.messages.push(this.#address(fields));
  }

  /** Leaves once everything that this member knows now is on disk. */
  sendAfterPersist(fields: MessageFields): void {
    this.messagesAfterPersist.push(this.#address(fields));
  }

  /**
   * Acknowledges to the leader that the logs agree up to `index`. This includes earlier acknowledgements, so several
   * in one
   * turn become one message.
   */
  acknowledge(to: MemberId, index: number): void {
    const outbox = this.messagesAfterPersist;
    const last = outbox.at(-1);
    const again =
      last !== undefined &&
      last.type === MessageType.appendResponse &&
      !last.reject &&
      last.to === to &&
      last.term === this.term;
    if (again) outbox.pop();
    const agreed = again ? Math.max(last.index, index) : index;
    this.sendAfterPersist({ type: MessageType.appendResponse, to, index: agreed });
  }

  #address(fields: MessageFields): Message {
    return newMessage({ ...fields, from: fields.from ?? this.id, term: fields.term ?? this.term });
  }
}
