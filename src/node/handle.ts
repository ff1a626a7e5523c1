/** A running node, for the process that started it. */
import type { Replicator } from "../replication/replicator.ts";
import type { NodeApi } from "../operations/api.ts";
import type { OnProgress } from "../replication/machine/work-progress.ts";

export type { OnProgress };

/** The facts that the start screen shows. */
export interface StartedInfo {
  readonly peerId: string;
  readonly name: string;
  /** Listen addresses as complete multiaddrs. */
  readonly addresses: readonly string[];
  readonly clusterId: string;
  readonly replicated: readonly string[];
  readonly skipped: readonly { readonly name: string; readonly reason: string }[];
  /** Remarks for the user, a sentence each. */
  readonly notes: readonly string[];
}

export interface RunningNode {
  readonly api: NodeApi;
  readonly started: StartedInfo;
  /** Before an orderly stop: other nodes take over the shards that this one leads. */
  handOver(): Promise<void>;
  /** Resolves when all files and connections are closed. */
  stop(): Promise<void>;
  /** Connections to an overwritten file are open: the process must end without closing them, which only SIGKILL does. */
  readonly mustBeKilled: boolean;
  /** Resolves with the reason if the node stops because of a failure; never after `stop`. */
  readonly failed: Promise<Error>;
}

type OwnFacts = Pick<StartedInfo, "peerId" | "name" | "addresses" | "notes">;

/** `replicator`: null while the node joins, or is halted. */
export function startedInfo(replicator: Replicator | null, own: OwnFacts): StartedInfo {
  if (replicator === null) return { ...own, clusterId: "", replicated: [], skipped: [] };
  const { settings, shapes } = replicator.replica.replica;
  const replicated = [...shapes.values()].map((s) => s.name);
  return { ...own, clusterId: replicator.clusterId, replicated, skipped: settings.skipped };
}
