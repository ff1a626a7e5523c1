/**
 * The invariants of etcd-io/raft's TLA+ model about quorums: every quorum's knowledge, possible election winners,
 * commits of a
 * leader. Majorities are counted here a second time, naively, so that src/raft does not check itself.
 */
import { membersOf } from "../../src/raft/membership/membership.ts";
import type { Raft } from "../../src/raft/raft.ts";
import { type Configuration, type Entry, EntryType, type MemberId } from "../../src/raft/model/types.ts";
import type { MemoryStorage } from "./memory-storage.ts";

export interface Position {
  readonly index: number;
  readonly term: number;
}

export const fail = (message: string): never => {
  throw new Error(message);
};

/** True: this entry is on that disk, as an entry or within the compacted part. */
export function holds(storage: MemoryStorage, { index, term }: Pick<Entry, "index" | "term">): boolean {
  if (index < storage.firstIndex() - 1) return true;
  return index <= storage.lastIndex() && storage.term(index) === term;
}

const isMajority = (voters: readonly MemberId[], has: (member: MemberId) => boolean): boolean =>
  2 * voters.filter(has).length > voters.length;

/** True: the members for which `has` holds are a quorum. In a joint configuration, in both halves (thesis §4.3). */
export function isQuorum(configuration: Configuration, has: (member: MemberId) => boolean): boolean {
  const { voters, votersOutgoing } = configuration;
  return isMajority(voters, has) && (votersOutgoing.length === 0 || isMajority(votersOutgoing, has));
}

/** Has every quorum of one a member in common with every quorum of the other? Tries all sets of members. */
export function quorumsOverlap(one: Configuration, other: Configuration): boolean {
  const members = [...new Set([...membersOf(one), ...membersOf(other)])];
  for (let set = 0; set < 2 ** members.length; set += 1) {
    const has = (member: MemberId): boolean => ((set >> members.indexOf(member)) & 1) === 1;
    if (isQuorum(one, has) && isQuorum(other, (member) => !has(member))) return false;
  }
  return true;
}

export class QuorumInvariants {
  readonly #disk: (id: MemberId) => MemoryStorage | undefined;

  /** `disk`: undefined for a member that never ran. */
  constructor(disk: (id: MemberId) => MemoryStorage | undefined) {
    this.#disk = disk;
  }

  #holds(member: MemberId, entry: Pick<Entry, "index" | "term">): boolean {
    const disk = this.#disk(member);
    return disk !== undefined && holds(disk, entry);
  }

  /**
   * QuorumLog: every quorum has a member with all entries that this member handed out, so no election can bypass
   * them.
   */
  quorumLog(id: MemberId, raft: Raft, entry: Entry): void {
    if (isQuorum(raft.configuration, (member) => !this.#holds(member, entry)))
      fail(`quorum log: by ${id}'s configuration a quorum lacks ${entry.index}/${entry.term}`);
  }

  /**
   * MoreUpToDate: whose log is good enough for the votes of a quorum has everything that is committed. Not so for a member
   * that knows of a committed change which it has not applied: it would count in the wrong configuration, and may not campaign.
   * `handedOut`: up to where changes are applied.
   */
  moreUpToDate(id: MemberId, raft: Raft, handedOut: number, committed: Entry): void {
    const own = this.#disk(id);
    if (own === undefined || holds(own, committed)) return;
    const unapplied = (entry: Entry): boolean =>
      entry.type === EntryType.configChange && entry.index > handedOut && entry.index <= raft.commit;
    if (own.all().some(unapplied)) return;
    const last = { index: own.lastIndex(), term: own.term(own.lastIndex()) };
    const grants = (member: MemberId): boolean => {
      const disk = this.#disk(member);
      if (disk === undefined) return true;
      const [index, term] = [disk.lastIndex(), disk.term(disk.lastIndex())];
      return last.term > term || (last.term === term && last.index >= index);
    };
    const { voters, votersOutgoing } = raft.configuration;
    const isVoter = voters.includes(id) || votersOutgoing.includes(id);
    if (isVoter && isQuorum(raft.configuration, grants))
      fail(`more up to date: ${id} could be elected without committed ${committed.index}/${committed.term}`);
  }

  /**
   * CommittedIsDurable: a leader commits up to an entry of its term (paper §5.4.2). That entry is on the disks of a
   * quorum of
   * one of these configurations; the leader's own write may be later.
   */
  committedIsDurable(id: MemberId, raft: Raft, configurations: readonly Configuration[]): void {
    const { commit, term } = raft;
    const onDisk = (member: MemberId): boolean => this.#holds(member, { index: commit, term });
    if (!configurations.some((configuration) => isQuorum(configuration, onDisk)))
      fail(`committed is durable: ${id} commits ${commit}/${term}, which is not on a quorum's disks`);
  }
}
