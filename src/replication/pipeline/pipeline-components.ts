/** The components of a pipeline and its tasks, so that a task need not import the pipeline. */
import type { Logger } from "../../base/logger.ts";
import type { Outbox } from "../../capture/outbox.ts";
import type { Spool } from "../../capture/spool.ts";
import type { Measures } from "../measures/measures.ts";
import type { Replica } from "../../replica/replica.ts";
import type { SchemaCoordinator } from "../../schema-sync/coordinator.ts";

export interface PipelineComponents {
  readonly replica: Replica;
  readonly schema: SchemaCoordinator;
  readonly spool: Spool;
  /** Makes everything that was read of the app database durable. */
  readonly syncAppDb: () => void;
  /** Marmot committed in the app database: the watcher need not report it. */
  readonly onOwnCommit: () => void;
  readonly propose: (shard: number, data: Uint8Array) => "accepted" | "forwarded" | "dropped";
  /** This node leads the shard's group. */
  readonly leads: (shard: number) => boolean;
  /** A number above `atLeast` that was never used before, synced when it returns. */
  readonly nextIncarnation: (atLeast: number) => number;
  readonly now: () => number;
  readonly wallTime: () => number;
  readonly measures: Measures;
  readonly logger: Logger;
}

export interface PipelineOptions {
  readonly peerId: string;
  readonly shards: number;
}

/** The components that the tasks of a pipeline share. */
export interface TaskComponents extends Pick<
  PipelineComponents,
  "replica" | "schema" | "syncAppDb" | "onOwnCommit" | "now" | "measures" | "logger"
> {
  readonly outbox: Outbox;
}
