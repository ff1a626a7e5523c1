/** The archive in the status of a node. */
import type { ShipperStatus } from "../archive/shipping/shipped.ts";

/** The last restore drill of this node. */
export interface DrillStatus {
  readonly at: number;
  /** The newest state was restored, and its rows are those that the cluster had. */
  readonly ok: boolean;
  /** The restored position; "": none. */
  readonly position: string;
  readonly ms: number;
  readonly error: string;
}

export interface ArchiveStatus extends ShipperStatus {
  readonly intervalMs: number;
  /** How long moments can be restored, or from how many snapshots; null: without this limit. */
  readonly keepMs: number | null;
  readonly keepSnapshots: number | null;
  /** Path of its key on this node; null: it is not encrypted. */
  readonly keyFile: string | null;
  /** null: there was none since the start. */
  readonly drill: DrillStatus | null;
}
