/** The halt of a node that met a later epoch of its cluster: the cluster was recovered without it. */
import type { Halt } from "../../base/halt.ts";
import { readLogHead } from "../../log-store/log-file.ts";
import type { DataPaths } from "../../replication/machine/data-paths.ts";
import type { Stage } from "../../replication/messages/message-router.ts";
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

/** `epochs`: at least one. `by`: name of the node that began the last one, or its peer id. */
export function supersededHalt(epochs: readonly Epoch[], by: string, file: string): Halt {
  return {
    name: "superseded",
    reason: `the cluster was recovered without this node: ${by} began epoch ${epochs.at(-1)!.number}`,
    hint: rejoinHint(file),
  };
}

/** Tells the later epochs to other nodes of the earlier one. */
export const supersededStage = ({ clusterId, epochs }: Superseded): Stage => ({
  ...haltedStage(clusterId, null, () => {}),
  epochs: () => epochs,
});
