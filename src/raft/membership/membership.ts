/**
 * Configurations as values: the configuration before and a change give the configuration after. A change of at most
 * one
 * voter is simple (thesis §4.1). Any other change, or one that asks for it, makes the configuration joint (§4.3). A
 * joint
 * configuration is left automatically unless the change demands an explicit second change.
 */
import {
  ConfigChangeTransition,
  ConfigChangeType,
  type ConfigChange,
  type Configuration,
  type MemberId,
} from "../model/types.ts";

interface Draft {
  readonly voters: Set<MemberId>;
  readonly votersOutgoing: Set<MemberId>;
  readonly learners: Set<MemberId>;
  readonly learnersNext: Set<MemberId>;
}

export const isJoint = (configuration: Configuration): boolean => configuration.votersOutgoing.length > 0;

/** True: a voter of either set. */
export function isVoter(configuration: Configuration, member: MemberId): boolean {
  return configuration.voters.includes(member) || configuration.votersOutgoing.includes(member);
}

/** All members, sorted. */
export function membersOf(configuration: Configuration): MemberId[] {
  const { voters, votersOutgoing, learners } = configuration;
  return sorted(new Set([...voters, ...votersOutgoing, ...learners]));
}

/**
 * The configuration after `change`, whose entry is at `entryIndex`; a step for member 0 uses that index as the new
 * id. Null:
 * the change would leave a half without voters, is a change inside a joint configuration, or leaves one that is not
 * joint.
 */
export function changeConfiguration(
  before: Configuration,
  change: ConfigChange,
  entryIndex: number,
): Configuration | null {
  const { auto, jointExplicit } = ConfigChangeTransition;
  const transition = change.transition ?? auto;
  if (change.steps.length === 0 && transition === auto) return isJoint(before) ? leaveJoint(before) : null;
  if (isJoint(before)) return null;
  const simple = takeSteps(draftOf(before), change, entryIndex);
  if (simple.voters.size === 0) return null;
  if (transition === auto && votersThatDiffer(before, simple) <= 1) return settle(simple, false);
  if (before.voters.length === 0) return null; // The outgoing half would be empty.
  const joint = draftOf(before);
  for (const voter of before.voters) joint.votersOutgoing.add(voter);
  return settle(takeSteps(joint, change, entryIndex), transition !== jointExplicit);
}

function takeSteps(draft: Draft, change: ConfigChange, entryIndex: number): Draft {
  for (const step of change.steps) {
    const fresh = step.member === 0;
    if (fresh && step.type === ConfigChangeType.removeMember) continue;
    const member = fresh ? entryIndex : step.member;
    if (step.type === ConfigChangeType.addVoter) addVoter(draft, member);
    else if (step.type === ConfigChangeType.addLearner) addLearner(draft, member);
    else remove(draft, member);
  }
  return draft;
}

function addVoter(draft: Draft, member: MemberId): void {
  draft.learners.delete(member);
  draft.learnersNext.delete(member);
  draft.voters.add(member);
}

/** A voter of the outgoing set cannot become a learner at once: it does when that set is dropped. */
function addLearner(draft: Draft, member: MemberId): void {
  draft.voters.delete(member);
  (draft.votersOutgoing.has(member) ? draft.learnersNext : draft.learners).add(member);
}

function remove(draft: Draft, member: MemberId): void {
  draft.voters.delete(member);
  draft.learners.delete(member);
  draft.learnersNext.delete(member);
}

function leaveJoint(before: Configuration): Configuration {
  const draft = draftOf(before);
  draft.votersOutgoing.clear();
  for (const member of draft.learnersNext) draft.learners.add(member);
  draft.learnersNext.clear();
  return settle(draft, false);
}

function votersThatDiffer(before: Configuration, after: Draft): number {
  const was = new Set(before.voters);
  return was.symmetricDifference(after.voters).size;
}

function draftOf(configuration: Configuration): Draft {
  return {
    voters: new Set(configuration.voters),
    votersOutgoing: new Set(configuration.votersOutgoing),
    learners: new Set(configuration.learners),
    learnersNext: new Set(configuration.learnersNext),
  };
}

function settle(draft: Draft, autoLeave: boolean): Configuration {
  return {
    voters: sorted(draft.voters),
    votersOutgoing: sorted(draft.votersOutgoing),
    learners: sorted(draft.learners),
    learnersNext: sorted(draft.learnersNext),
    autoLeave,
  };
}

const sorted = (members: ReadonlySet<MemberId>): MemberId[] => [...members].sort((a, b) => a - b);
