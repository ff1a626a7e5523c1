/** The recovery of a running node is possible only while the majority of its cluster is out of touch. */
import { UserError } from "../../base/errors.ts";
import type { Recovery } from "../../operations/api.ts";
import type { Replicator } from "../../replication/replicator.ts";
import type { Transport } from "../../shard/seams.ts";
import { recoverMember, requireWhole } from "./recover-files.ts";

/** The effects of a recovery. Throws `UserError` if the cluster has its majority. */
export function planOf(replicator: Replicator, transport: Transport): Recovery {
  requireLostMajority(replicator, transport);
  const { log, replica } = replicator;
  requireWhole(replica.replica.completion.tables);
  return recoverMember({ log, applied: replica.replica.positions(), supersededBy: [] }, null);
}

function requireLostMajority({ runtime }: Replicator, transport: Transport): void {
  const { members, configuration } = runtime.groups[0]!.configuration;
  const reached = new Set([transport.peerId, ...transport.connected()]);
  const voters = members.filter(({ id }) => configuration.voters.includes(id));
  const inTouch = voters.filter(({ peerId }) => reached.has(peerId)).length;
  if (inTouch * 2 <= voters.length) return;
  const dead = members.find(({ peerId }) => !reached.has(peerId));
  throw new UserError(
    `the cluster has its majority: ${inTouch} of ${voters.length} voters are in touch`,
    dead === undefined
      ? "marmot status shows what this node waits for"
      : `marmot members remove ${dead.name} takes a dead member out`,
  );
}
