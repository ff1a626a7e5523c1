/**
 * Changes of the members, by the leader of group 0: admission, promotion, demotion, removal, and a new name. The other groups
 * follow (`reconcile.ts`). A change is proposed and takes effect when it is applied; the same request may come again.
 */
import { EMPTY_BYTES } from "../base/bytes.ts";
import {
  type ConfigChangeStep,
  ConfigChangeType,
  type Configuration,
  type MemberId,
} from "../raft/model/types.ts";
import { type Group, memberContext } from "./group.ts";
import type { MemberInfo, PeerId } from "./seams.ts";

/** Voters; further nodes remain learners. */
export const MAX_VOTERS = 5;
/** A learner is promoted when its log is at most so many entries behind the leader's. */
const PROMOTE_WITHIN = 2000;

/** done: the change is in force. Other texts than these complete "the change is refused: …". */
export type ChangeOutcome =
  | { readonly state: "done" | "proposed" | "not leader" }
  | { readonly state: "refused"; readonly reason: string };

const DONE: ChangeOutcome = { state: "done" };
const HINT = "; hint: ";
/** The hint travels with the reason. */
export const refused = (reason: string, hint = ""): ChangeOutcome => ({
  state: "refused",
  reason: hint === "" ? reason : `${reason}${HINT}${hint}`,
});

/** The reason of a refusal and its hint; "": it has none. */
export function splitReason(text: string): { readonly reason: string; readonly hint: string } {
  const at = text.indexOf(HINT);
  return at === -1
    ? { reason: text, hint: "" }
    : { reason: text.slice(0, at), hint: text.slice(at + HINT.length) };
}

interface Promotion {
  readonly asked: boolean;
  /** It was connected within the last seconds. */
  readonly isAlive: boolean;
  readonly isConnected: boolean;
}

const onlyVoter = ({ name }: MemberInfo): ChangeOutcome =>
  refused(
    `${name} is the only voter`,
    "promote another member first: marmot members promote NAME, or add a node with marmot run --peers",
  );

/** The member votes in one of the groups, as far as this node knows: they follow group 0 one after the other. */
export const votesIn = (groups: readonly Pick<Group, "configuration">[], member: MemberId): boolean =>
  groups.some(({ configuration: { configuration } }) => isVoter(configuration, member));

const isVoter = ({ voters, votersOutgoing }: Configuration, member: MemberId): boolean =>
  voters.includes(member) || votersOutgoing.includes(member);

type Newcomer = Pick<MemberInfo, "peerId" | "name" | "admission" | "role" | "reader">;
export type Admission = MemberInfo | "proposed" | "not leader" | "last voter" | "name taken";

export class Membership {
  readonly #groups: readonly Group[];

  constructor(groups: readonly Group[]) {
    this.#groups = groups;
  }

  get #group(): Group {
    return this.#groups[0]!;
  }

  get #members(): readonly MemberInfo[] {
    return this.#group.configuration.members;
  }

  get #voters(): readonly MemberId[] {
    return this.#group.configuration.configuration.voters;
  }

  memberCalled(name: string): MemberInfo | null {
    return this.#members.find((m) => m.name === name) ?? null;
  }

  /**
   * Proposes a learner. A `MemberInfo`: this admission is in force. A peer that is a member by another admission lost its
   * log with its votes, and a silent member of the same name lost its disk: the old id leaves in the same change.
   */
  admit(peer: Newcomer, isAlive: (peer: PeerId) => boolean): Admission {
    const known = this.#members.filter((m) => m.peerId === peer.peerId);
    const same = known.find((m) => m.admission === peer.admission);
    if (same !== undefined) return same;
    if (!this.#group.raft.isLeader) return "not leader";
    const namesakes = this.#members.filter((m) => m.name === peer.name && m.peerId !== peer.peerId);
    if (namesakes.some((m) => isAlive(m.peerId))) return "name taken";
    const replaced = [...known, ...namesakes].map(({ id }) => id);
    if (this.#voters.every((voter) => replaced.includes(voter))) return "last voter";
    this.#propose(
      [
        ...replaced.map((member) => ({ type: ConfigChangeType.removeMember, member })),
        { type: ConfigChangeType.addLearner, member: 0 },
      ],
      peer,
    );
    return "proposed";
  }

  /**
   * `asked`: the learner asks for it by itself when it has caught up, which a member that was demoted, or joined as a learner,
   * does not get.
   */
  promote(member: MemberInfo, { asked, isAlive, isConnected }: Promotion): ChangeOutcome {
    if (this.#voters.includes(member.id) && member.role === undefined) return this.#settled(member, true);
    if (asked && member.role === "learner") return refused(`${member.name} is a learner by choice`);
    if (!this.#voters.includes(member.id)) {
      if (this.#voters.length >= MAX_VOTERS) return refused(`${MAX_VOTERS} voters are the most`);
      // The answers of a member that has just died are still remembered.
      const behind = isConnected ? this.#behind(member.id) : Number.POSITIVE_INFINITY;
      // A new leader hears of it within some heartbeats.
      if (behind === Number.POSITIVE_INFINITY && isAlive) return { state: "proposed" };
      if (behind > PROMOTE_WITHIN)
        return Number.isFinite(behind)
          ? refused(
              `${member.name} is ${behind} entries behind`,
              "wait until it has caught up: marmot status --watch",
            )
          : refused(`${member.name} is not connected`, `start ${member.name}, or check the network to it`);
    }
    const { role: _, reader: __, ...rest } = member;
    return this.#propose([{ type: ConfigChangeType.addVoter, member: member.id }], rest);
  }

  /** `reader`: its file refuses the writes of its applications from then on. */
  demote({ reader: wasReader, ...member }: MemberInfo, reader: boolean): ChangeOutcome {
    const isDone = member.role === "learner" && (wasReader ?? false) === reader;
    if (!this.#voters.includes(member.id) && isDone) return this.#settled(member, false);
    if (this.#isLastVoter(member.id)) return onlyVoter(member);
    return this.#propose([{ type: ConfigChangeType.addLearner, member: member.id }], {
      ...member,
      role: "learner",
      ...(reader ? { reader } : {}),
    });
  }

  remove(member: MemberInfo): ChangeOutcome {
    if (this.#isLastVoter(member.id)) return onlyVoter(member);
    return this.#propose([{ type: ConfigChangeType.removeMember, member: member.id }], member);
  }

  /** The removed member votes in no group any more: then it may stop. */
  left(member: MemberId): ChangeOutcome {
    return votesIn(this.#groups, member) ? { state: "proposed" } : DONE;
  }

  /** Group 0 has the change; the other groups follow within moments, and need the votes of their members for that. */
  #settled({ id }: MemberInfo, votes: boolean): ChangeOutcome {
    const isSettled = this.#groups.every(
      ({ configuration: { configuration } }) => isVoter(configuration, id) === votes,
    );
    return isSettled ? DONE : { state: "proposed" };
  }

  /** The admission of a node that did not become a member after all. */
  withdraw(peer: PeerId, admission: string): ChangeOutcome {
    const member = this.#members.find((m) => m.peerId === peer && m.admission === admission);
    if (member === undefined) return DONE;
    return this.#voters.includes(member.id) ? refused(`${member.name} votes`) : this.remove(member);
  }

  rename(member: MemberInfo, name: string): ChangeOutcome {
    if (member.name === name) return DONE;
    if (this.memberCalled(name) !== null) return refused(`another member has the name ${name}`);
    const type = this.#voters.includes(member.id) ? ConfigChangeType.addVoter : ConfigChangeType.addLearner;
    return this.#propose([{ type, member: member.id }], { ...member, name });
  }

  /** The learner gets the vote of the voter, in one change. Both keep their names and chosen roles. */
  replace(voter: MemberInfo, learner: MemberInfo): ChangeOutcome {
    const { addVoter, addLearner } = ConfigChangeType;
    return this.#keeping([
      { type: addVoter, member: learner.id },
      { type: addLearner, member: voter.id },
    ]);
  }

  /** A learner by choice that stood in for another voter. */
  giveBack(voter: MemberInfo): ChangeOutcome {
    return this.#keeping([{ type: ConfigChangeType.addLearner, member: voter.id }]);
  }

  /** Without a context the facts of the members stay. */
  #keeping(steps: readonly ConfigChangeStep[]): ChangeOutcome {
    const { raft } = this.#group;
    if (!raft.isLeader) return { state: "not leader" };
    raft.proposeConfigChange({ steps, context: EMPTY_BYTES });
    return { state: "proposed" };
  }

  #isLastVoter(member: MemberId): boolean {
    return this.#voters.every((voter) => voter === member);
  }

  /** Entries; infinite: the leader has not heard of the member. */
  #behind(member: MemberId): number {
    const { raft } = this.#group;
    const progress = raft.status().progress?.get(member);
    return progress?.recentActive === true ? raft.lastIndex - progress.match : Number.POSITIVE_INFINITY;
  }

  /** Entries of the leader that a member did not acknowledge; infinite: its log is not known to match. */
  lacks(member: MemberId): number {
    const { raft } = this.#group;
    const progress = raft.status().progress?.get(member);
    return progress?.state === "replicate" ? raft.lastIndex - progress.match : Number.POSITIVE_INFINITY;
  }

  #propose(steps: readonly ConfigChangeStep[], context: Newcomer): ChangeOutcome {
    const { raft } = this.#group;
    if (!raft.isLeader) return { state: "not leader" };
    raft.proposeConfigChange({ steps, context: memberContext(context) });
    return { state: "proposed" };
  }
}
