/**
 * Effects of a new configuration on a running group (thesis §4). The sets of members are computed in membership.ts.
 */
import { appendToAll } from "./appends.ts";
import type { Core } from "../core/core.ts";
import { changeConfiguration, isVoter, membersOf } from "../membership/membership.ts";
import { AppendReason } from "../core/member-progress.ts";
import { proposeConfigChange } from "../requests/proposals.ts";
import { confirmReads } from "../requests/reads.ts";
import { maybeCommit } from "./replication.ts";
import { becomeFollower, trackMember } from "../election/roles.ts";
import { LEAVE_JOINT } from "../membership/config-change.ts";
import type { ConfigChange, Configuration } from "../model/types.ts";

/**
 * Applies the committed change at `entryIndex`. An invalid change leaves the configuration as it is. So does a change
 * that is
 * handed out again after a restart, because it is applied already.
 */
export function applyConfigChange(core: Core, change: ConfigChange, entryIndex: number): Configuration {
  if (entryIndex <= core.configurationIndex) return core.configuration;
  const after = changeConfiguration(core.configuration, change, entryIndex) ?? core.configuration;
  useConfiguration(core, after, entryIndex);
  return after;
}

/** Sets the configuration, made by the entry at `index`. */
export function useConfiguration(core: Core, configuration: Configuration, index: number): void {
  core.configuration = configuration;
  core.configurationIndex = index;
  if (!core.isLeader) return;
  if (!isVoter(configuration, core.id)) {
    // The others receive the commit index of this change from the ready that handed the entry out.
    becomeFollower(core, core.term, 0);
    return;
  }
  const members = new Set(membersOf(configuration));
  for (const member of core.progress.keys()) if (!members.has(member)) core.progress.delete(member);
  for (const member of members) {
    const progress = core.progress.get(member);
    if (progress !== undefined) {
      progress.isLearner = configuration.learners.includes(member);
      continue;
    }
    // A new member counts as active: otherwise check-quorum could depose the leader before that member had a chance
    // to answer.
    trackMember(core, member, true);
    core.progress.get(member)?.because(AppendReason.answer);
  }
  // A smaller quorum may have acknowledged entries that a larger one had not.
  if (!maybeCommit(core)) appendToAll(core, AppendReason.entries);
  confirmReads(core);
  if (core.transferee !== 0 && !isVoter(configuration, core.transferee)) core.transferee = 0;
}

/** Leaves a joint configuration with `autoLeave`, as soon as no configuration change is uncommitted (thesis §4.3). */
export function maybeLeaveJoint(core: Core): void {
  if (!core.configuration.autoLeave || !core.isLeader) return;
  if (core.configurationIndex >= core.pendingConfigIndex) proposeConfigChange(core, LEAVE_JOINT);
}
