/** The stores of the replica beside its rows, made once per open replica. */
import type { DatabaseSync } from "node:sqlite";
import { ChangedRows } from "../change/changed-rows.ts";
import type { KeyId } from "../change/key.ts";
import { BeforeImages } from "./apply/before-images.ts";
import { Checksums } from "./apply/checksums.ts";
import { KeyPositions } from "./apply/key-positions.ts";
import { RowidCollisions } from "./apply/rowid-collisions.ts";
import { Journal } from "./conflicts/journal.ts";
import type { HistoryWriter } from "./history/history-writer.ts";
import { Origins } from "./order/origins.ts";
import { StagedParts } from "./order/staged-parts.ts";
import { DanglingReferences } from "./references/dangling-references.ts";
import { LosersChildren } from "./references/losers-children.ts";
import { Completion } from "./store/incomplete-tables.ts";
import { CheckRecords } from "./store/check-records.ts";
import { peerHash } from "./store/tables.ts";
import { UsedVersions } from "./store/used-formats.ts";

/** Rows of changesets that this node cannot show. */
export interface HeldRows {
  readonly tables: ReadonlySet<number>;
  has(table: number, keyId: KeyId): boolean;
}

export class ReplicaComponents {
  /** Rows that the app database may not have yet. The reflector empties it. */
  readonly changed = new ChangedRows();
  /** Records the applied entries; null: they are not recorded. */
  history: HistoryWriter | null = null;
  /** Rows that the app database does not show for now; null: it can show all. */
  heldBack: HeldRows | null = null;
  readonly completion: Completion;
  readonly journal: Journal;
  readonly origins: Origins;
  readonly staged: StagedParts;
  readonly checksums: Checksums;
  readonly checks: CheckRecords;
  readonly formats: UsedVersions;
  readonly keyPositions: KeyPositions;
  readonly beforeImages: BeforeImages;
  readonly losersChildren: LosersChildren;
  readonly danglingReferences: DanglingReferences;
  readonly rowidCollisions: RowidCollisions;

  constructor(db: DatabaseSync, peerId: string) {
    this.completion = new Completion(db);
    this.journal = new Journal(db);
    this.origins = new Origins(db);
    this.staged = new StagedParts(db);
    this.checksums = new Checksums(db);
    this.checks = new CheckRecords(db);
    this.formats = new UsedVersions(db);
    this.keyPositions = new KeyPositions(db);
    this.beforeImages = new BeforeImages(db);
    this.losersChildren = new LosersChildren(db);
    this.danglingReferences = new DanglingReferences(db);
    this.rowidCollisions = new RowidCollisions(db, peerHash(peerId), this.keyPositions);
  }

  /** Rows of tables without rows cannot be recorded: the history begins again with a whole replica. */
  endHistory(): void {
    const [table] = this.completion.tables.values();
    if (table !== undefined) this.history?.stop(new Error(`a table cannot be recorded: ${table.reason}`));
  }

  /** Stores all changes that are only in memory, in the transaction of the rows. */
  flush(): void {
    this.origins.flush();
    this.checksums.flush();
    this.rowidCollisions.flush();
  }
}
