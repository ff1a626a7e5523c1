/** A node as whoever started it sees it. */
import type { NodeApi, ProgressStatus } from "../operations/api.ts";

/** What the start screen says. */
export interface StartedInfo {
  readonly peerId: string;
  readonly name: string;
  /** Full listen multiaddrs. */
  readonly addresses: readonly string[];
  readonly clusterId: string;
  readonly replicated: readonly string[];
  readonly skipped: readonly { readonly name: string; readonly reason: string }[];
  /** Things worth knowing, a sentence each. */
  readonly notes: readonly string[];
}

export interface RunningNode {
  readonly api: NodeApi;
  readonly started: StartedInfo;
  /** Resolves when everything is closed. */
  stop(): Promise<void>;
  /** Resolves with why the node stopped by itself; never when it was told to. */
  readonly failed: Promise<Error>;
}

/** Told of long work while a node starts or catches up. */
export type OnProgress = (progress: ProgressStatus | null) => void;
