/**
 * Runs all groups of a node. In one turn it steps received messages and sends the ones that need no write. One durable
 * write for all groups follows, then the other messages, then the committed entries. It has no timers: the owner calls
 * `tick`, `turn` and `receive`.
 */
import { assert } from "../base/assert.ts";
import { EMPTY_BYTES } from "../base/bytes.ts";
import type { LogIndex } from "../base/ids.ts";
import type { Logger } from "../base/logger.ts";
import type { Random } from "../base/random.ts";
import type { ProposeResult, Ready } from "../raft/raft.ts";
import { type Entry, EntryType, type MemberId, type Message, MessageType } from "../raft/model/types.ts";
import { MessageKind } from "./frames.ts";
import { Group, groupWrite, memberContext } from "./group.ts";
import { handOver, moveLeader } from "./leadership.ts";
import { Membership } from "./cluster-members.ts";
import { HEARTBEAT_TICKS, Quiet } from "./leaders/quiet.ts";
import { nextChange } from "./reconcile.ts";
import type { LogStore, PeerId, ShardId, Transport } from "./seams.ts";
import type { StateMachine } from "./state-machine.ts";
import { Speakers, type Vouchers } from "./speakers.ts";
import { decodeMessages, encodeMessages, type GroupMessage } from "./wire.ts";

/** Rounds of ready in one turn: a write often makes the next round possible, and the number of rounds is bounded. */
const ROUNDS = 4;
/** A log is compacted when it holds this many times the kept entries, or these bytes, and the state durably contains them. */
const COMPACT_FACTOR = 5;
const COMPACT_BYTES = 64 << 20;
/** Kept for followers that are late by a moment. */
const KEEP_ENTRIES = 2000;
const TAIL_BYTES = 16 << 20;
/** Bytes of a log that are kept at most for receivers of a replica. */
const MAX_HELD_BYTES = 512 << 20;
/** Ticks without a message of the leader after which a follower campaigns at the earliest. */
const ELECTION_TICKS = 10;
/** Ticks between two checks of configurations, leaders and logs. */
const UPKEEP_TICKS = 5;
/** Ticks between two warnings about proposals of the same peer. */
const WARN_TICKS = 600;
/** So much of the entries of the last time counts as done with each tick. */
const DONE_BYTES_A_TICK = 256 << 10;
/** Bytes of a message above which the transport is asked for room before it is encoded. */
const LARGE_BYTES = 1 << 20;

export interface RuntimeComponents {
  /** Absent: nothing is known but the own configuration. */
  readonly vouchers?: Vouchers;
  readonly logStore: LogStore;
  readonly transport: Pick<Transport, "send" | "connected" | "hasRoom">;
  readonly stateMachine: StateMachine;
  readonly random: Random;
  readonly logger: Logger;
  /** The position from which a receiver of a replica needs the log; null: none. Absent: none. */
  readonly keepFrom?: (shard: ShardId) => LogIndex | null;
  /** Called before a write, with the bytes of the entries of the last time: peers may have to be told that this node is busy. True: they were. */
  readonly onLargeWrite?: (bytes: number) => boolean;
}

export interface RuntimeOptions {
  readonly shards: number;
  readonly peerId: PeerId;
  /** This node's id in every group. */
  readonly member: MemberId;
  /** Default 10: with a tick of 100 ms a node campaigns 1 to 2 s after the leader's last message. */
  readonly electionTicks?: number;
  /** Entries of each log kept for late followers; compacted at five times as many. Default 2000. */
  readonly keepEntries?: number;
  /** Default true: a group's leader moves to the voter that writes most to it. */
  readonly leaderFollowsWriter?: boolean | undefined;
  /** Per shard, an index that is known to be committed. */
  readonly committed?: readonly number[];
}

export class ShardRuntime {
  readonly groups: readonly Group[];
  readonly membership: Membership;
  readonly #components: RuntimeComponents;
  readonly #speakers: Speakers;
  readonly #options: RuntimeOptions;
  /** The sender of each member id: for answers to members that a configuration does not contain yet. */
  readonly #heard = new Map<MemberId, PeerId>();
  /** Peers whose proposals were refused, with the tick of the last warning. */
  readonly #warnedAt = new Map<PeerId, number>();
  /** The readies of a turn between `begin` and `finish`. */
  #readies: { group: Group; ready: Ready | null }[] | null = null;
  readonly #quiet: Quiet;
  #ticks = 0;
  /** Bytes of entries that were written and may not be applied yet, by estimate. */
  #recentBytes = 0;
  #turns = 0;
  #sentMessages = 0;

  constructor(components: RuntimeComponents, options: RuntimeOptions) {
    this.#components = components;
    this.#options = options;
    const { logStore, stateMachine, random } = components;
    this.groups = Array.from(
      { length: options.shards },
      (_, shard) =>
        new Group(
          shard,
          options.member,
          { logStore, stateMachine, random: random.fork() },
          {
            electionTicks: this.#electionTicks,
            heartbeatTicks: HEARTBEAT_TICKS,
            committed: options.committed?.[shard] ?? 0,
          },
        ),
    );
    this.membership = new Membership(this.groups);
    this.#speakers = new Speakers(this.groups, options.member, components.vouchers ?? null);
    this.#quiet = new Quiet(this.groups);
  }

  get peerId(): PeerId {
    return this.#options.peerId;
  }

  get member(): MemberId {
    return this.#options.member;
  }

  get counters(): { turns: number; messages: number } {
    return { turns: this.#turns, messages: this.#sentMessages };
  }

  /** One unit of time has passed. */
  tick(): void {
    this.#ticks++;
    this.#recentBytes = Math.max(0, this.#recentBytes - DONE_BYTES_A_TICK);
    const isBeat = this.#quiet.tick();
    for (const group of this.groups) {
      group.raft.tick(isBeat);
      group.confirmed.tick();
      group.countLed();
      if (group.raft.isLeader && group.shard !== 0) this.#followConfiguration(group);
    }
    if (this.#ticks % UPKEEP_TICKS === 0) this.#upkeep();
  }

  /** Nothing but heartbeats has come or gone for a while: ticks may come several at once. */
  get isQuiet(): boolean {
    return this.#quiet.isQuiet;
  }

  /** The process was stopped for this many ticks: leaders may have changed unnoticed. */
  wasStopped(ticks: number): void {
    if (ticks < this.#electionTicks) return;
    for (const group of this.groups) group.confirmed.forget();
  }

  get #electionTicks(): number {
    return this.#options.electionTicks ?? ELECTION_TICKS;
  }

  propose(shard: ShardId, data: Uint8Array): ProposeResult {
    return this.groups[shard]!.propose(data);
  }

  /** Handles messages of a peer. Throws `WireError` for other bytes. */
  receive(from: PeerId, bytes: Uint8Array): void {
    for (const { shard, message } of decodeMessages(bytes, this.groups.length)) {
      if (message.to !== this.#options.member) continue;
      const group = this.groups[shard]!;
      if (!this.#speakers.accepts(group, message, from, this.#ticks)) continue;
      this.#heard.set(message.from, from);
      this.#quiet.note(message);
      group.note(message);
      if (message.type === MessageType.snapshot) this.#offered(group, from, message);
      else if (message.type === MessageType.propose) this.#forwarded(group, from, message);
      else group.raft.step(message);
    }
  }

  /** Every member may propose changes of its own; only a leader changes the configuration. */
  #forwarded(group: Group, peer: PeerId, message: Message): void {
    const { stateMachine, logger } = this.#components;
    const entries = message.entries.filter(
      ({ type, data }) =>
        type === EntryType.normal && stateMachine.mayPropose?.(group.shard, peer, data) !== false,
    );
    if (entries.length > 0) group.raft.step({ ...message, entries });
    const warnedAt = this.#warnedAt.get(peer) ?? Number.NEGATIVE_INFINITY;
    if (entries.length === message.entries.length || this.#ticks - warnedAt < WARN_TICKS) return;
    this.#warnedAt.set(peer, this.#ticks);
    logger.warn("a proposal of a member was refused: it is malformed, or of another origin", {
      peer,
      shard: group.shard,
    });
  }

  #offered(group: Group, from: PeerId, message: Message): void {
    const metadata = message.snapshot;
    if (metadata === null) return;
    if (metadata.index <= group.raft.commit) {
      group.raft.step(message); // nothing to install: Raft answers with its commit index
      return;
    }
    // Only the leader of the newest known term offers its state.
    const { term, leader } = group.raft;
    if (message.term < term || (message.term === term && leader !== 0 && leader !== message.from)) return;
    this.#components.stateMachine.snapshotOffered(group.shard, from, metadata);
  }

  /** Does all pending work. Throws errors of the log store: the node must then stop. */
  turn(): void {
    for (let round = 0; round < ROUNDS && this.hasWork; round++) {
      this.begin();
      this.finish();
    }
  }

  /**
   * First half of a turn: sends messages that need no write. True: something was sent. A caller that runs the network
   * before `finish` then gains the time of the write.
   */
  begin(): boolean {
    assert(this.#readies === null, "a turn that was begun is finished first");
    this.#turns++;
    const active = this.groups.filter((g) => g.raft.hasReady() || g.unsavedConfiguration !== null);
    this.#readies = active.map((group) => ({
      group,
      ready: group.raft.hasReady() ? group.raft.ready() : null,
    }));
    // Entries that follow each other are applied together, so that those of the last time count, too.
    const entries = this.#readies.flatMap(({ ready }) => ready?.entries ?? []);
    this.#recentBytes += bytesOf(entries);
    const told = entries.length > 0 && this.#components.onLargeWrite?.(this.#recentBytes) === true;
    const sent = this.#send(this.#readies.flatMap(({ group, ready }) => outgoing(group, ready?.messages)));
    return told || sent;
  }

  /** Second half: one durable write, the messages that depend on it, the committed entries. True: something was sent. */
  finish(): boolean {
    const { logStore, stateMachine } = this.#components;
    const readies = this.#readies ?? [];
    this.#readies = null;
    // A committed change is on disk as the configuration before the state can be past its entry.
    for (const { group, ready } of readies) if (ready !== null) group.applyConfigChanges(ready);
    const writes = readies.flatMap(({ group, ready }) => groupWrite(group, ready));
    if (writes.length > 0) {
      this.#quiet.active();
      logStore.write(writes);
    }
    const sent = this.#send(
      readies.flatMap(({ group, ready }) => outgoing(group, ready?.messagesAfterPersist)),
    );
    for (const { group, ready } of readies) {
      if (ready === null) continue;
      if (ready.committed.length > 0) stateMachine.committed(group.shard, ready.committed);
      group.confirmed.ended(ready.readStates);
      group.raft.advance(ready);
    }
    for (const group of this.groups) {
      this.#tellLeader(group);
      group.confirmed.afterTurn();
    }
    return sent;
  }

  /** The state contains entries up to its position: Raft may hand out more. */
  applied(): void {
    for (const group of this.groups) {
      const { index } = this.#components.stateMachine.position(group.shard);
      if (index > group.raft.applied) group.raft.appliedTo(index);
    }
  }

  get hasWork(): boolean {
    return this.groups.some((g) => g.raft.hasReady() || g.unsavedConfiguration !== null);
  }

  #send(messages: readonly GroupMessage[]): boolean {
    if (messages.length === 0) return false;
    const urgent = new Map<PeerId, GroupMessage[]>();
    const bulk = new Map<PeerId, GroupMessage[]>();
    for (const item of messages) {
      const peer = this.groups[item.shard]!.peerOf(item.message.to) ?? this.#heard.get(item.message.to);
      if (peer === undefined || peer === this.#options.peerId) continue;
      // An append must not overtake an earlier one: the follower would reject it, and all entries in flight be sent again.
      const { type, entries } = item.message;
      const lane = type === MessageType.append || entries.length > 0 ? bulk : urgent;
      const list = lane.get(peer);
      if (list === undefined) lane.set(peer, [item]);
      else list.push(item);
    }
    for (const [peer, list] of urgent) this.#sendTo(peer, list, "urgent");
    for (const [peer, list] of bulk) this.#sendTo(peer, list, "bulk");
    return urgent.size + bulk.size > 0;
  }

  #sendTo(peer: PeerId, messages: readonly GroupMessage[], lane: "urgent" | "bulk"): void {
    this.#sentMessages += messages.length;
    for (const { message } of messages) this.#quiet.note(message);
    const { transport } = this.#components;
    // A large message is not encoded in vain.
    const bytes = messages.reduce((sum, { message }) => sum + bytesOf(message.entries), 0);
    const hasRoom = bytes < LARGE_BYTES || transport.hasRoom?.(peer, bytes) !== false;
    if (hasRoom && transport.send(peer, encodeMessages(messages, MessageKind.raft), lane)) return;
    for (const { shard, message } of messages) {
      const { raft } = this.groups[shard]!;
      if (message.type === MessageType.append) raft.reportUnreachable(message.to);
      if (message.type === MessageType.snapshot) raft.reportSnapshot(message.to, false);
      if (message.type === MessageType.propose) this.#components.stateMachine.proposalLost(shard);
    }
  }

  #tellLeader(group: Group): void {
    const leader = group.leaderPeer;
    if (leader === group.knownLeader) return;
    group.knownLeader = leader;
    this.#components.stateMachine.leaderChanged(group.shard, leader);
  }

  // ------------------------------------------------------------------------------------------ upkeep

  #upkeep(): void {
    for (const group of this.groups) {
      if (group.raft.isLeader)
        moveLeader(group, {
          self: this.member,
          connected: this.#components.transport.connected(),
          followsWriter: this.#options.leaderFollowsWriter !== false,
          isSpread: this.groups.length > 1,
        });
      this.#compact(group);
    }
  }

  /** Group 0 defines the members; the other groups' leaders follow, one change at a time. */
  #followConfiguration(group: Group): void {
    const wanted = this.groups[0]!.configuration;
    const change = nextChange(wanted, group.configuration, (member) => {
      const one = group.raft.status().progress?.get(member);
      return one !== undefined && one.recentActive && group.raft.lastIndex - one.match < KEEP_ENTRIES;
    });
    if (change === null) return;
    const member = wanted.members.find((m) => m.id === change.member);
    group.raft.proposeConfigChange({
      steps: change.steps,
      context: member === undefined ? EMPTY_BYTES : memberContext(member),
    });
  }

  /** See `leadership.ts`. */
  handOver(): number {
    return handOver(this.groups, this.#options.member);
  }

  #compact(group: Group): void {
    const { logStore, stateMachine } = this.#components;
    const keep = this.#options.keepEntries ?? KEEP_ENTRIES;
    const first = group.log.firstIndex();
    const held = group.appendedBytes < MAX_HELD_BYTES ? this.#components.keepFrom?.(group.shard) : null;
    const synced = Math.min(
      ...[stateMachine.syncedPosition(group.shard), group.log.lastIndex()],
      held ?? Number.POSITIVE_INFINITY,
    );
    if (synced - first < COMPACT_FACTOR * keep && group.appendedBytes < COMPACT_BYTES) return;
    const average = group.appendedBytes / Math.max(1, group.appendedEntries);
    const tail = Math.min(keep, Math.ceil(TAIL_BYTES / Math.max(1, average)));
    if (synced - tail <= first) return;
    logStore.compact(group.shard, synced - tail);
    group.appendedBytes = 0;
    group.appendedEntries = 0;
  }

  // ------------------------------------------------------------------------------------------ membership

  isVoter(peerId: PeerId): boolean {
    return this.groups.every((g) => {
      const member = g.memberOf(peerId);
      return member !== undefined && g.configuration.configuration.voters.includes(member.id);
    });
  }
}

const bytesOf = (entries: readonly Entry[]): number =>
  entries.reduce((sum, { data }) => sum + data.length, 0);

function outgoing(group: Group, messages: readonly Message[] | undefined): GroupMessage[] {
  return (messages ?? []).map((message) => ({ shard: group.shard, message }));
}
