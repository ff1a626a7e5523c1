/** What changes in a running machine when its configuration does (thesis §4). The sets themselves: membership.ts. */
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
 * The committed change at `entryIndex` takes effect. One that leads nowhere leaves the configuration as it is, and so
 * does one that is in it already, handed out again after a restart.
 */
export function applyConfigChange(core: Core, change: ConfigChange, entryIndex: number): Configuration {
  if (entryIndex <= core.configurationIndex) return core.configuration;
  const after = changeConfiguration(core.configuration, change, entryIndex) ?? core.configuration;
  useConfiguration(core, after, entryIndex);
  return after;
}

/** From now on `configuration` holds, which is that of the entry at `index`. */
export function useConfiguration(core: Core, configuration: Configuration, index: number): void {
  core.configuration = configuration;
  core.configurationIndex = index;
  if (!core.isLeader) return;
  if (!isVoter(configuration, core.id)) {
    // The commit index that removed it is on its way to the others since the ready that handed the entry out.
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
    // It counts as active, or it would help to depose a leader that it never had a chance to answer.
    trackMember(core, member, true);
    core.progress.get(member)?.because(AppendReason.answer);
  }
  // A smaller quorum may have what a larger one lacked.
  if (!maybeCommit(core)) appendToAll(core, AppendReason.entries);
  confirmReads(core);
  if (core.transferee !== 0 && !isVoter(configuration, core.transferee)) core.transferee = 0;
}

/** A leader leaves a joint configuration that wants it, as soon as that is all that is committed (thesis §4.3). */
export function maybeLeaveJoint(core: Core): void {
  if (!core.configuration.autoLeave || !core.isLeader) return;
  if (core.configurationIndex >= core.pendingConfigIndex) proposeConfigChange(core, LEAVE_JOINT);
}
