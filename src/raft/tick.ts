/** Time, in ticks: elections, heartbeats, and the leader's checks once per election timeout. */
import { broadcastHeartbeat } from "./replication/appends.ts";
import type { Core } from "./core/core.ts";
import { campaign } from "./election/election.ts";
import { ageSnapshots, checkQuorum } from "./replication/replication.ts";
import { maybeLeaveJoint } from "./replication/reconfigure.ts";

/** `isBeat`: whether a leader sends heartbeats with this tick; undefined: once per `heartbeatTicks`. */
export function tick(core: Core, isBeat?: boolean): void {
  core.reads.tick();
  core.electionElapsed += 1;
  for (const [member, ticks] of core.busy)
    if (ticks > 1) core.busy.set(member, ticks - 1);
    else core.busy.delete(member);
  if (core.isLeader) tickLeader(core, isBeat);
  else if (core.electionElapsed >= core.electionTimeout && core.promotable && !core.busy.has(core.leader))
    timeOut(core);
}

function timeOut(core: Core): void {
  core.resetElectionTimer();
  campaign(core, core.options.preVote ? "preVote" : "vote");
}

function tickLeader(core: Core, isBeat?: boolean): void {
  if (core.electionElapsed >= core.options.electionTicks) {
    core.electionElapsed = 0;
    if (core.options.checkQuorum) checkQuorum(core);
    if (!core.isLeader) return;
    ageSnapshots(core);
    // A transfer that took this long has failed: proposals are accepted again.
    core.transferee = 0;
  }
  core.heartbeatElapsed += 1;
  if (!(isBeat ?? core.heartbeatElapsed >= core.options.heartbeatTicks)) return;
  core.heartbeatElapsed = 0;
  broadcastHeartbeat(core);
  // Proposed here too, in case a failed transfer prevented it.
  maybeLeaveJoint(core);
}
