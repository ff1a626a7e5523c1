/**
 * Begins a new epoch of the cluster on one surviving member: in all shards, in one durable transaction of the log. The member
 * is the only voter from then on, and all entries of its logs count as committed. The log is aligned with the replica.
 */
import { EMPTY_BYTES } from "../../base/bytes.ts";
import type { LogIndex, PeerId } from "../../base/ids.ts";
import type { SqliteLogStore } from "../../log-store/sqlite-log-store.ts";
import { type Entry, EntryType, type HardState, type MemberId } from "../../raft/model/types.ts";
import { type Epoch, MAX_EPOCHS, type RecordedEpoch, signedText } from "../../shard/epochs.ts";
import type { GroupLog, GroupWrite, MemberInfo, ShardId } from "../../shard/seams.ts";
import { epochStarts } from "./epoch-starts.ts";

/** Bytes of entries that are read at once. */
const PAGE_BYTES = 8 << 20;

/** The state of a member from which a new epoch can begin. */
export interface Survivor {
  readonly log: SqliteLogStore;
  /** Of the replica, per shard. */
  readonly applied: readonly LogIndex[];
  /** Later epochs of the cluster that this node has met; empty: none. */
  readonly supersededBy: readonly Epoch[];
}

/** Names the epoch. */
export interface EpochSigner {
  readonly id: string;
  readonly sign: (text: string) => string;
}

/** This node in the configuration of group 0; null: it was removed. A reader becomes a voter that accepts writes. */
export function ownMember({ log }: Survivor): MemberInfo | null {
  const member = log.configuration(0)!.members.find(({ id }) => id === log.member);
  if (member?.reader !== true) return member ?? null;
  const { role: _, reader: __, ...rest } = member;
  return rest;
}

export function nextNumber({ log, supersededBy }: Survivor): number {
  const numbers = [...(log.configuration(0)!.epochs ?? []), ...supersededBy].map(({ number }) => number);
  return Math.max(0, ...numbers) + 1;
}

/** `member`: this node. Returns the new epoch. */
export function beginEpoch(survivor: Survivor, member: MemberInfo, signer: EpochSigner): RecordedEpoch {
  const { log, applied } = survivor;
  const before = log.configuration(0)!;
  const logs = applied.map((_, shard) => log.group(shard));
  const starts = epochStarts(
    logs.map((group, shard) => ({
      lastIndex: group.lastIndex(),
      unapplied: entriesAfter(group, applied[shard]!),
    })),
  );
  const unsigned = { number: nextNumber(survivor), id: signer.id, by: member.peerId, starts };
  const epoch: RecordedEpoch = {
    ...unsigned,
    signature: signer.sign(signedText(log.identity.clusterId, unsigned)),
    former: before.members.map(({ peerId }) => peerId).filter((peer) => peer !== member.peerId),
    ends: logs.map((group) => group.lastIndex()),
    committed: logs.map((group, shard) => Math.max(applied[shard]!, group.hardState.commit)),
  };
  const learners = learnersOf(survivor);
  const epochs = [...(before.epochs ?? []), epoch].slice(-MAX_EPOCHS);
  const term =
    1 + Math.max(...logs.flatMap((group) => [group.hardState.term, group.term(group.lastIndex())]));
  log.beginEpoch(
    logs.map((group, shard) => ({
      ...firstEntries(shard, group.lastIndex(), { term, commit: starts[shard]! }),
      configuration: {
        index: starts[shard]!,
        configuration: onlyVoter(member.id, learners),
        members: [member, ...learners],
        ...(shard === 0 ? { epochs } : {}),
      },
    })),
  );
  return epoch;
}

const onlyVoter = (voter: MemberId, learners: readonly MemberInfo[]) => ({
  ...{ voters: [voter], votersOutgoing: [], learners: learners.map(({ id }) => id), learnersNext: [] },
  autoLeave: false,
});

/** The other learners stay members: they have promised no vote, and follow if their logs agree (`followers.ts`). */
export function learnersOf({ log }: Survivor): readonly MemberInfo[] {
  const { members, configuration } = log.configuration(0)!;
  return members.filter(({ id }) => id !== log.member && configuration.learners.includes(id));
}

function* entriesAfter(log: GroupLog, index: LogIndex): Generator<Entry> {
  for (let next = index + 1; next <= log.lastIndex();) {
    const page = log.entries(next, log.lastIndex() + 1, PAGE_BYTES);
    yield* page;
    next += page.length;
  }
}

/** Empty entries after `last` and up to `commit`, all of them committed. */
function firstEntries(shard: ShardId, last: LogIndex, { term, commit }: Omit<HardState, "vote">): GroupWrite {
  const entries: Entry[] = [];
  for (let index = last + 1; index <= commit; index++)
    entries.push({ term, index, type: EntryType.normal, data: EMPTY_BYTES });
  return { shard, entries, hardState: { term, vote: 0, commit } };
}

/** Entries at the end of the log that this member does not know to be committed; they are kept. */
export function unconfirmed({ log, applied }: Survivor): number {
  return applied.reduce((sum, index, shard) => {
    const group = log.group(shard);
    return sum + Math.max(0, group.lastIndex() - Math.max(index, group.hardState.commit));
  }, 0);
}

/** The members that leave: the other voters. */
export function formerMembers(survivor: Survivor): readonly { peerId: PeerId; name: string }[] {
  const { log } = survivor;
  const learners = learnersOf(survivor);
  return log.configuration(0)!.members.filter((m) => m.id !== log.member && !learners.includes(m));
}
