/** The parts that a schema change of the replica works on. */
import type { DatabaseSync } from "node:sqlite";
import type { ChangedRows } from "../../change/changed-rows.ts";
import type { TableShape } from "../../change/shape.ts";
import type { BeforeImages } from "../apply/before-images.ts";
import type { ChangesetContext } from "../apply/changeset.ts";
import type { Checksums } from "../apply/checksums.ts";
import type { KeyPositions } from "../apply/key-positions.ts";
import type { RowidCollisions } from "../apply/rowid-collisions.ts";
import type { Journal } from "../conflicts/journal.ts";
import type { Origins } from "../order/origins.ts";
import type { Completion } from "../store/incomplete-tables.ts";
import type { ReplicaSettings } from "../store/settings.ts";

export interface MigrationComponents {
  readonly db: DatabaseSync;
  /** The position and origin of the schema entry. */
  readonly context: ChangesetContext;
  readonly journal: Journal;
  readonly beforeImages: BeforeImages;
  readonly checksums: Checksums;
  readonly changed: ChangedRows;
  readonly rowidCollisions: RowidCollisions;
  readonly keyPositions: KeyPositions;
  readonly origins: Origins;
  readonly completion: Pick<Completion, "tables" | "mayReceive">;
}

/** Settings and table shapes of the replica, before or after a schema entry. */
export interface ReplicaSchema {
  readonly settings: ReplicaSettings;
  readonly shapes: readonly TableShape[];
}
