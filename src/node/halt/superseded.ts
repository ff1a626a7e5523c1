/** The halt of a node that met a later epoch of its cluster: the cluster was recovered without it. */
import type { Halt } from "../../base/halt.ts";
import type { NodePlace } from "../../base/text/commands.ts";
import { readLogHead } from "../../log-store/log-file.ts";
import type { DataPaths } from "../../replication/machine/data-paths.ts";
import type { Stage } from "../../replication/messages/message-router.ts";
import type { MemberId } from "../../raft/model/types.ts";
import type { GroupConfiguration } from "../../shard/seams.ts";
import type { Epoch } from "../../shard/epochs.ts";
import { haltedStage, rejoinHint } from "./refused.ts";

export interface Superseded {
  readonly clusterId: string;
  readonly epochs: readonly Epoch[];
}

export function readSuperseded({ log }: DataPaths): Superseded {
  const { identity, supersededBy } = readLogHead(log);
  return { clusterId: identity.clusterId, epochs: supersededBy };
}

/** `by`: name of the node that began the last epoch, or its peer id. `follows`: a learner that has not been refused. */
export function supersededHalt(
  { number }: Epoch,
  by: string,
  {
    place,
    follows,
    because = "",
  }: { readonly place: NodePlace; readonly follows: boolean; readonly because?: string },
): Halt {
  return {
    name: "superseded",
    reason: follows
      ? `${by} began epoch ${number} of the cluster; this learner follows when it meets ${by}`
      : `the cluster was recovered without this node: ${by} began epoch ${number}${because === "" ? "" : `: ${because}`}`,
    hint: `${follows ? `start ${by}, or check the network to it; or ` : ""}${rejoinHint(place)}`,
  };
}

/** Tells the later epochs to other nodes of the earlier one. */
export const supersededStage = ({ clusterId, epochs }: Superseded, onControl: Stage["onControl"]): Stage => ({
  ...haltedStage(clusterId, null, () => {}),
  epochs: () => epochs,
  onControl,
});

/** Only a learner may follow: it has promised no vote. `configuration`: of group 0. */
export const mayFollow = ({ configuration }: GroupConfiguration, self: MemberId): boolean =>
  configuration.learners.includes(self);
