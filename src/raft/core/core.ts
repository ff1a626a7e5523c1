/**
 * The state that the machine's concerns share: term, vote, role, log, what is known of the members, and the two
 * outboxes. Holds no rules but the plain ones; each rule lives in the file named after its concern.
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

  /** Ticks since an election or a sign of life of the leader; on a leader, since it last counted its quorum. */
  electionElapsed = 0;
  heartbeatElapsed = 0;
  /** This round's election timeout in ticks. */
  electionTimeout = 0;
  /** Answers of this round. Who votes twice is counted as first said. */
  readonly votes = new Map<MemberId, boolean>();

  // On a leader only:
  /** Every member, itself included. Empty on others. */
  readonly progress = new Map<MemberId, Progress>();
  /** Applies to all members, as `Progress.reason` does to one. */
  appendReason: AppendReason = AppendReason.none;
  /** Whom leadership is being handed to. */
  transferee: MemberId = 0;
  /** No change of the configuration is proposed before this index is in `configuration`. */
  pendingConfigIndex = 0;
  /** Data of own entries that were not handed out yet. */
  uncommittedBytes = 0;

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
    // What was applied, as state or as configuration, was committed, whether or not the commit index was saved in time.
    const known = Math.min(Math.max(this.configurationIndex, options.committed ?? 0), storage.lastIndex());
    const commit = Math.max(saved.commit, applied, known);
    this.log = new RaftLog(storage, commit, applied, options.maxApplyBytes);
    const { appliedTerm } = options;
    assert(
      appliedTerm === undefined || this.log.matches(applied, appliedTerm),
      `the state stands at entry ${applied} of term ${appliedTerm}, the log has term ${this.log.term(applied)} there`,
    );
    // A log that was installed or made at genesis may be ahead of the saved term: that term has begun, without a vote.
    this.term = Math.max(saved.term, this.log.lastTerm);
    this.vote = this.term === saved.term ? saved.vote : 0;
    this.resetElectionTimer();
  }

  get isLeader(): boolean {
    return this.role === "leader";
  }

  /** May this member campaign? Learners, strangers and those who wait for a snapshot may not. */
  get promotable(): boolean {
    return isVoter(this.configuration, this.id) && this.log.pendingSnapshot === null;
  }

  /** Has this member heard its leader so lately that it helps nobody to replace it? */
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

  /** May leave at once. The term is this member's unless given. */
  send(fields: MessageFields): void {
    this.messages.push(this.#address(fields));
  }

  /** Leaves once all that this member knows by now is on disk. */
  sendAfterPersist(fields: MessageFields): void {
    this.messagesAfterPersist.push(this.#address(fields));
  }

  /**
   * Tells the leader that the logs agree up to `index`. That covers what was acknowledged before, so several in one
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
