/** One shard's group: its Raft state machine, and the peers of its members. */
import { asPeerId, NO_PEER } from "../base/ids.ts";
import { FORMATS, newerFormat } from "../base/versions/formats.ts";
import { fromUtf8, utf8 } from "../base/bytes.ts";
import { EntryError } from "../base/halt.ts";
import type { Random } from "../base/random.ts";
import { decodeConfigChange, type ProposeResult, Raft, type RaftStorage, type Ready } from "../raft/raft.ts";
import {
  type ConfigChange,
  ConfigChangeType,
  type Entry,
  EntryType,
  type HardState,
  type MemberId,
  type Message,
  MessageType,
} from "../raft/model/types.ts";
import { Acknowledged } from "./acknowledged.ts";
import { ConfirmedCommit } from "./confirmed-commit.ts";
import type {
  GroupConfiguration,
  GroupLog,
  GroupWrite,
  LogStore,
  MemberInfo,
  PeerId,
  ShardId,
} from "./seams.ts";
import { freeSlot } from "./slots.ts";
import { Writers } from "./leaders/writers.ts";
import type { StateMachine } from "./state-machine.ts";
import { TermBound } from "../raft/election/term-bound.ts";

export interface GroupLimits {
  /** Ticks. */
  readonly electionTicks: number;
  readonly heartbeatTicks: number;
  /** See `RaftOptions`. */
  readonly committed: number;
}

/** The context of a configuration change: peer and name of the member that it concerns. */
export const memberContext = ({ peerId, name, ...rest }: MemberFacts): Uint8Array =>
  utf8(JSON.stringify({ peerId, name, ...optionalFacts(rest) }));

type MemberFacts = Omit<MemberInfo, "id" | "slot">;

/** Facts that configurations of older builds do not have. */
const optionalFacts = ({ admission, role, reader }: Partial<MemberInfo>): Partial<MemberFacts> => ({
  ...(admission === undefined ? {} : { admission }),
  ...(role === "learner" ? { role } : {}),
  ...(role === "learner" && reader === true ? { reader } : {}),
});

function readContext(bytes: Uint8Array): MemberFacts {
  if (bytes.length === 0) return { peerId: NO_PEER, name: "" };
  const { peerId = "", name = "", ...rest } = JSON.parse(fromUtf8(bytes)) as Partial<MemberInfo>;
  return { peerId: asPeerId(peerId), name, ...optionalFacts(rest) };
}

function readChange(shard: ShardId, { index, data }: Entry): { change: ConfigChange; context: MemberFacts } {
  try {
    const change = decodeConfigChange(data);
    return { change, context: readContext(change.context) };
  } catch (error) {
    throw new EntryError(shard, index, error);
  }
}

export class Group {
  readonly shard: ShardId;
  readonly raft: Raft;
  readonly log: GroupLog;
  readonly confirmed: ConfirmedCommit;
  readonly acknowledged = new Acknowledged();
  readonly terms: TermBound;
  /** The newest applied configuration. */
  configuration: GroupConfiguration;
  /** Applied and not on disk yet. */
  unsavedConfiguration: GroupConfiguration | null = null;
  /** Changed and not on disk yet: between two writes only the commit index may be. */
  unsavedHardState: HardState | null = null;
  /** The leader that the state machine was last told. */
  knownLeader: PeerId | null = null;
  /** On a leader. */
  readonly writers = new Writers();
  /** Ticks since this node became the leader. */
  ticksLed = 0;
  /** Entries and bytes appended since the last compaction. */
  appendedEntries = 0;
  appendedBytes = 0;

  constructor(
    shard: ShardId,
    member: MemberId,
    components: { logStore: LogStore; stateMachine: StateMachine; random: Random },
    limits: GroupLimits,
  ) {
    const { logStore, stateMachine, random } = components;
    this.shard = shard;
    this.terms = new TermBound(limits);
    this.log = logStore.group(shard);
    this.configuration = logStore.configuration(shard)!;
    const log = this.log;
    const storage: RaftStorage = {
      hardState: log.hardState,
      firstIndex: () => log.firstIndex(),
      lastIndex: () => log.lastIndex(),
      term: (index) => log.term(index),
      entries: (from, to, maxBytes) => log.entries(from, to, maxBytes),
      snapshot: () => {
        const { index, term } = stateMachine.position(shard);
        const at = logStore.configurationAt(shard, index);
        return at === undefined ? null : { index, term, configuration: at.configuration };
      },
    };
    this.raft = new Raft({
      id: member,
      storage,
      configuration: this.configuration.configuration,
      configurationIndex: this.configuration.index,
      applied: stateMachine.position(shard).index,
      committed: limits.committed,
      electionTicks: limits.electionTicks,
      heartbeatTicks: limits.heartbeatTicks,
      maxMessageBytes: 1 << 20,
      maxInflightMessages: 256,
      maxInflightBytes: 8 << 20,
      maxApplyBytes: 8 << 20,
      maxUncommittedBytes: 64 << 20,
      preVote: true,
      checkQuorum: true,
      random,
    });
    // A voter gives its leader up by itself within this time; a learner does not.
    this.confirmed = new ConfirmedCommit(this.raft, 2 * limits.electionTicks);
  }

  propose(data: Uint8Array): ProposeResult {
    const result = this.raft.propose(data);
    if (result === "accepted") this.writers.proposed(this.raft.id, data.length);
    return result;
  }

  /** A message of a member, before its group handles it. */
  note(message: Message): void {
    if (this.peerOf(message.from) !== undefined) this.acknowledged.note(message);
    if (message.type === MessageType.propose)
      for (const { data } of message.entries) this.writers.proposed(message.from, data.length);
  }

  /** Each tick. */
  countLed(): void {
    this.ticksLed = this.raft.isLeader ? this.ticksLed + 1 : 0;
    if (!this.raft.isLeader) this.writers.forget();
  }

  /** The peer of a member id, as far as this group's configuration knows it. */
  peerOf(member: MemberId): PeerId | undefined {
    return this.configuration.members.find((m) => m.id === member)?.peerId;
  }

  memberOf(peer: PeerId): MemberInfo | undefined {
    return this.configuration.members.find((m) => m.peerId === peer);
  }

  /** The log has an admission of the peer under that id, which is not applied yet. */
  admits(id: MemberId, peer: PeerId): boolean {
    if (id < this.log.firstIndex() || id > this.log.lastIndex()) return false;
    const [entry] = this.log.entries(id, id + 1, 0);
    if (entry?.type !== EntryType.configChange) return false;
    const { steps, context } = decodeConfigChange(entry.data);
    const isAdmission = steps.some(
      ({ type, member }) => type !== ConfigChangeType.removeMember && member === 0,
    );
    return isAdmission && readContext(context).peerId === peer;
  }

  get leaderPeer(): PeerId {
    return this.peerOf(this.raft.leader) ?? NO_PEER;
  }

  /**
   * Applies the configuration changes among a ready's committed entries. They take effect at once, independent of the
   * state.
   */
  applyConfigChanges(ready: Ready): void {
    for (const entry of ready.committed)
      if (entry.type === EntryType.configChange) this.#applyConfigChange(entry);
  }

  #applyConfigChange(entry: Entry): void {
    const format = entry.data[0] ?? 0;
    if (format > FORMATS.membership.max)
      throw newerFormat(`entry ${entry.index} of shard ${this.shard}`, "membership", format);
    const { change, context } = readChange(this.shard, entry);
    const configuration = this.raft.applyConfigChange(change, entry.index);
    if (entry.index <= this.configuration.index) return;
    const { epochs } = this.configuration;
    const members = new Map(this.configuration.members.map((m) => [m.id, m]));
    for (const step of change.steps) {
      const id = step.member === 0 ? entry.index : step.member;
      if (step.type !== ConfigChangeType.removeMember && context.peerId !== NO_PEER)
        members.set(id, {
          id,
          ...context,
          slot: members.get(id)?.slot ?? freeSlot([...members.values()].filter((m) => m.id !== id)),
        });
    }
    const inForce = new Set([
      ...configuration.voters,
      ...configuration.votersOutgoing,
      ...configuration.learners,
      ...configuration.learnersNext,
    ]);
    this.configuration = {
      index: entry.index,
      configuration,
      members: [...members.values()].filter((m) => inForce.has(m.id)),
      ...(epochs === undefined ? {} : { epochs }),
    };
    this.unsavedConfiguration = this.configuration;
  }
}

/** The durable part of a turn of the group; empty: there is none. */
export function groupWrite(group: Group, ready: Ready | null): GroupWrite[] {
  const configuration = group.unsavedConfiguration;
  group.unsavedConfiguration = null;
  if (ready?.hardState) group.unsavedHardState = ready.hardState;
  const entries = ready?.entries ?? [];
  for (const entry of entries) group.appendedBytes += entry.data.length;
  group.appendedEntries += entries.length;
  // A changed commit index alone is written with the next write that must be synced.
  if (configuration === null && !ready?.mustSync) return [];
  const hardState = group.unsavedHardState;
  group.unsavedHardState = null;
  return [
    {
      shard: group.shard,
      ...(ready?.snapshot ? { snapshot: ready.snapshot } : {}),
      ...(entries.length > 0 ? { entries } : {}),
      ...(hardState === null ? {} : { hardState }),
      ...(configuration === null ? {} : { configuration }),
    },
  ];
}
