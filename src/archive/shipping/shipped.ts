/** The needs of shipping, which the node meets, and the state that it shows. */
import type { GroupLog } from "../../shard/seams.ts";
import type { Sums } from "../chain-link.ts";

/** The replica at one moment. */
export interface ShippedState {
  readonly positions: readonly number[];
  readonly terms: readonly number[];
  /** Read in the same turn. */
  readonly sums: Sums;
}

export interface CopiedState extends Omit<ShippedState, "sums"> {
  /** Wall clock. */
  readonly at: number;
}

export interface ShippedNode {
  readonly cluster: string;
  readonly shards: number;
  readonly name: string;
  /** null: a transaction of the replica is open. */
  state(): ShippedState | null;
  positions(): readonly number[];
  log(shard: number): Pick<GroupLog, "firstIndex" | "lastIndex" | "term" | "entries">;
  /** This node leads shard 0. */
  leads(): boolean;
  /** Makes a copy of the replica. The caller removes the file. */
  copy(path: string): Promise<CopiedState>;
  /** Called after each commit of the replica. */
  onCommit(run: () => void): void;
  /** The log keeps the entries after these positions, up to a bound. */
  hold(positions: readonly number[]): void;
}

export interface ShipperStatus {
  readonly to: string;
  /**
   * "shipping"; "standby": another node ships; "waiting": the node is not ready, or there is no archive yet; "paused": the store or the
   * archive is refused, see `error`.
   */
  readonly state: "shipping" | "standby" | "waiting" | "paused";
  /** The end of the archive as this node knows it; null: unknown. */
  readonly position: string | null;
  /** Entries that this node applied and that are not in the archive, and for how long the oldest one has waited. */
  readonly behindEntries: number;
  readonly behindMs: number;
  /** Number of the last link. */
  readonly number: number | null;
  /** The node that made it. */
  readonly node: string | null;
  /** Since the start of this node: links, bytes in the store, copies of the replica. */
  readonly shipped: number;
  readonly bytes: number;
  readonly snapshots: number;
  /** Wall-clock time of the last link and of the last copy that this node made; null: none. */
  readonly lastAt: number | null;
  readonly lastSnapshotAt: number | null;
  readonly failures: number;
  readonly error: string;
}
