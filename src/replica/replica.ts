/**
 * The replica: the replicated state, equal on all nodes at equal positions. It applies committed entries in log order.
 * Each transaction stores rows together with positions, origins, checksums and the conflict journal.
 */
import type { DatabaseSync } from "node:sqlite";
import { EntryError } from "../base/halt.ts";
import type { UsedFormats } from "../base/versions/formats.ts";
import type { BeforeImageSource } from "../change/before-image-source.ts";
import type { OwnOutcome, PositionVector } from "../change/batch.ts";
import type { ChangedRows, RedirectedRow } from "../change/changed-rows.ts";
import type { BatchHead } from "../change/codec.ts";
import { type KeyId, keyValues } from "../change/key.ts";
import type { TableShape } from "../change/shape.ts";
import type { Image, Value } from "../change/value.ts";
import { settingOf } from "../change/per-table.ts";
import type { Entry } from "../raft/model/types.ts";
import type { ForeignKey } from "../schema/foreign-keys.ts";
import { decodeSchemaEntry, type SchemaEntry } from "../schema/diff/schema-entry.ts";
import type { BeforeImages } from "./apply/before-images.ts";
import { covers, type LastWrite } from "./apply/changeset.ts";
import type { Checksums } from "./apply/checksums.ts";
import { BatchApplier } from "./batch-applier.ts";
import type { Journal } from "./conflicts/journal.ts";
import type { HistoryWriter } from "./history/history-writer.ts";
import type { RejectedKey } from "./migrate/journal-rejects.ts";
import { markersOf } from "./order/delivery-rule.ts";
import { isOfEntry } from "./order/entry-fault.ts";
import { type CommittedEntry, EntryQueue, type NextEntry } from "./order/entry-queue.ts";
import type { Origins } from "./order/origins.ts";
import type { DanglingReferences } from "./references/dangling-references.ts";
import type { LosersChildren } from "./references/losers-children.ts";
import { type HeldRows, ReplicaComponents } from "./replica-components.ts";
import { ReplicaTables } from "./replica-tables.ts";
import { ReplicaTransaction } from "./replica-transaction.ts";
import { FileNote } from "./store/file-note.ts";
import { NewKeys } from "./store/new-keys.ts";
import { AppliedPositions } from "./store/positions.ts";
import type { Completion } from "./store/incomplete-tables.ts";
import { type CatalogueObject, readObjectsOf } from "./store/schema-store.ts";
import { peerHash } from "./store/tables.ts";
import type { ReplicaSettings } from "./store/settings.ts";
import { blob, readRows, text } from "../sqlite/typed-rows.ts";

interface ReplicaOptions {
  /** The id of this node. */
  readonly peerId: string;
  readonly settings: ReplicaSettings;
  readonly shapes: readonly TableShape[];
}

export class Replica implements BeforeImageSource {
  /** The life of the app database, stored with own batches. */
  readonly fileNote: FileNote;
  /** Called after each commit; null: nothing is. */
  onCommit: (() => void) | null = null;
  readonly #db: DatabaseSync;
  readonly #peerId: string;
  readonly #components: ReplicaComponents;
  readonly #tables: ReplicaTables;
  readonly #batches: BatchApplier;
  readonly #positions: AppliedPositions;
  readonly #queue: EntryQueue;
  readonly #newKeys: NewKeys;
  readonly #transaction: ReplicaTransaction;
  #running: Generator<void, void> | null = null;

  /** The first incarnation of this process. Own batches of earlier ones are shown: the app database may have lost them. */
  set ownSince(incarnation: number) {
    this.#batches.ownSince = incarnation;
  }

  /** The caller closes `db` after its last call. */
  constructor(db: DatabaseSync, { peerId, settings, shapes }: ReplicaOptions) {
    this.#db = db;
    this.fileNote = new FileNote(db);
    this.#peerId = peerId;
    this.#components = new ReplicaComponents(db, peerId);
    this.#tables = new ReplicaTables(db, { settings, shapes });
    this.#batches = new BatchApplier(db, peerId, this.#tables, this.#components);
    this.#positions = new AppliedPositions(db, settings.shards);
    this.#newKeys = new NewKeys((table) => {
      const access = this.#tables.accessTo(table);
      if (!access.shape.integerKey) return Number.POSITIVE_INFINITY;
      return Math.max(access.highest(), this.#components.keyPositions.highest(table));
    });
    this.#queue = new EntryQueue(settings.shards, (shard) => this.position(shard));
    this.#transaction = new ReplicaTransaction(db, {
      ...{ components: this.#components, positions: this.#positions, batches: this.#batches },
      fileNote: this.fileNote,
    });
  }

  get settings(): ReplicaSettings {
    return this.#tables.settings;
  }

  get shapes(): ReadonlyMap<number, TableShape> {
    return this.#tables.shapes;
  }

  /** Rows that the app database may not have yet. The reflector empties it. */
  get changed(): ChangedRows {
    return this.#components.changed;
  }

  /** The owner of the app database says which rows it cannot show; null: it can show all. */
  holdBack(rows: HeldRows | null): void {
    this.#components.heldBack = rows;
  }

  /** The formats that a node must read to take part. */
  get usedFormats(): UsedFormats {
    return this.#components.formats.all;
  }

  /** With the tables that this node keeps without rows. */
  get completion(): Completion {
    return this.#components.completion;
  }

  /** Records all entries that are applied from now on. */
  record(history: HistoryWriter): void {
    this.#components.history = history;
    history.useSchema(this.settings.schemaVersion, this.shapes.values());
    this.#components.endHistory();
  }

  get journal(): Journal {
    return this.#components.journal;
  }

  get origins(): Origins {
    return this.#components.origins;
  }

  get checksums(): Checksums {
    return this.#components.checksums;
  }

  get beforeImages(): BeforeImages {
    return this.#components.beforeImages;
  }

  get losersChildren(): LosersChildren {
    return this.#components.losersChildren;
  }

  get danglingReferences(): DanglingReferences {
    return this.#components.danglingReferences;
  }

  /** The batch has rows of a table that was changed after the schema under which it was made. */
  touchesChanged(head: BatchHead): boolean {
    return this.#tables.touchesChanged(head);
  }

  /** The catalogue that the app database must have. */
  catalogue(): readonly CatalogueObject[] {
    return readObjectsOf(this.#db);
  }

  /** The schema changes after `version`, in order. */
  schemaEntriesAfter(version: number): { peer: string; entry: SchemaEntry }[] {
    const rows = this.#db
      .prepare(`SELECT "peer", "entry" FROM "__marmot__schema" WHERE "version" > ? ORDER BY "version"`)
      .all(version);
    return readRows(rows, { peer: text, entry: blob }).map(({ peer, entry }) => ({
      peer,
      entry: decodeSchemaEntry(entry),
    }));
  }

  position(shard: number): number {
    return this.#positions.index(shard);
  }

  term(shard: number): number {
    return this.#positions.term(shard);
  }

  positions(): number[] {
    return this.#positions.all();
  }

  /** Number of entries that are not applied yet. Some may wait for other shards. */
  get queued(): number {
    return this.#queue.size;
  }

  /** Bytes of the entries that are not applied yet. */
  get queuedBytes(): number {
    return this.#queue.bytes;
  }

  /** A queued entry can be applied now. */
  get runnable(): boolean {
    return this.#running !== null || this.#queue.deliverable() !== null;
  }

  /** Shards in which shard 0 waits for a marker. */
  awaitedMarkers(): number[] {
    return this.#queue.awaited();
  }

  /**
   * Adds committed entries of a shard that follow those added before. After a restart or a snapshot, entries that the
   * replica contains come again. Returns the others, with their markings.
   */
  enqueue(shard: number, entries: readonly Entry[]): CommittedEntry[] {
    const last = this.#queue.lastIndex(shard) ?? this.position(shard);
    return this.#queue.add(
      shard,
      entries.filter((entry) => entry.index > last),
    );
  }

  /** The head of a queued entry's batch; null: it has none. */
  headOf(shard: number, entry: CommittedEntry): BatchHead | null {
    return this.#queue.head(shard, entry);
  }

  /**
   * Applies entries until `expired()` ends the slice. Within a changeset the transaction stays open over several slices,
   * so no reader sees a part of one. True: every entry that does not wait for another shard is applied and committed.
   * Throws SQLite's errors: the open transaction is rolled back, and the node must stop.
   */
  advance(expired: () => boolean): boolean {
    const transaction = this.#transaction;
    this.#newKeys.clear();
    try {
      while (this.runnable) {
        transaction.begin();
        this.#running ??= this.#applyNext(this.#queue.deliverable()!);
        if (this.#running.next().done) this.#running = null;
        this.#running ??= transaction.storeParts();
        if (expired()) break;
      }
      if (transaction.isOpen && this.#running === null) this.#commit();
    } catch (error) {
      transaction.rollback();
      throw error;
    }
    return !transaction.isOpen && !this.runnable;
  }

  #commit(): void {
    this.#transaction.commit();
    this.onCommit?.();
  }

  /** The file is behind the positions: parts of an unfinished changeset are in memory alone. */
  get isAhead(): boolean {
    return this.#transaction.isAhead;
  }

  /** Brings the file to the positions, unless a transaction is open. */
  store(): void {
    if (this.isAhead && this.betweenEntries) this.#transaction.store();
  }

  *#applyNext(shard: number): Generator<void, void> {
    const next = this.#queue.next(shard)!;
    if (next.head !== null) yield* this.#applyBatch(shard, next, next.head);
    // The positions of an entry and of its markers advance in one transaction.
    const markers = markersOf(next, this.#queue);
    for (const applied of [shard, ...markers]) {
      this.#positions.advance(applied, this.#queue.next(applied)!.entry);
      this.#queue.applied(applied);
    }
    this.#components.history?.end(this.positions());
  }

  *#applyBatch(shard: number, next: NextEntry, head: BatchHead): Generator<void, void> {
    try {
      yield* this.#batches.apply(shard, next, head);
    } catch (error) {
      throw isOfEntry(error) ? new EntryError(shard, next.index, error) : error;
    }
  }

  /**
   * Applies a schema change on trial, in a transaction that the caller rolls back before it closes this replica. Returns
   * the rows that the new constraints reject, without regard to the rows of the app database.
   */
  *trySchema(bytes: Uint8Array): Generator<void, readonly RejectedKey[]> {
    const head = { origin: this.#peerId, incarnation: Number.MAX_SAFE_INTEGER, bases: [], time: 0 };
    return yield* this.#batches.changeSchema(this.position(0) + 1, head, bytes);
  }

  /** No transaction is open: reads see committed rows, and a whole number of changesets. */
  get betweenEntries(): boolean {
    return !this.#transaction.isOpen;
  }

  /** Committed results of own batches since the last call. */
  takeOutcomes(): OwnOutcome[] {
    return this.#transaction.isOpen ? [] : this.#batches.takeOutcomes();
  }

  /** Many reads in one transaction: each costs a tenth of a read outside. `work` writes nothing to the replica. */
  reading<T>(work: () => T): T {
    return this.#transaction.reading(work);
  }

  /** The replica's row; null: there is none. */
  row(table: number, key: readonly Value[]): Value[] | null {
    return this.#tables.row(table, key);
  }

  /** All rows of a table, in the order of the key. The replica must not change until the last one is read. */
  rows(table: number): Iterable<Image> {
    return this.#tables.rows(table);
  }

  /** The reference position of a row; null: the reference is older than the replica. */
  referenceWritten(foreignKey: ForeignKey, keyId: KeyId): LastWrite | null {
    return this.#batches.referencePositions.at(foreignKey, keyId);
  }

  shardOfKey(table: number, keyId: KeyId): number {
    return this.#tables.shardOfKey(table, keyId);
  }

  beforeImage(table: number, keyId: KeyId, key: readonly Value[], base: PositionVector): Image | null {
    const before = this.beforeImages.at(table, keyId, base);
    if (before !== undefined) return before;
    return this.#newKeys.has(table, keyId) ? null : this.row(table, key);
  }

  isLastWriteOwn(table: number, keyId: KeyId, base: PositionVector): boolean {
    const last = this.#components.keyPositions.last(table, keyId);
    if (last === null || covers(base, last)) return true;
    // The last writer of a merged row did not write all its columns.
    const isWhole = settingOf(this.settings.merge, this.shapes.get(table)?.name ?? "") === "row";
    return isWhole && last.origin === peerHash(this.#peerId);
  }

  watermark(table: number, keyId: KeyId): number {
    const shard = this.settings.transactions === "whole" ? 0 : this.shardOfKey(table, keyId);
    return this.origins.watermark(this.#peerId, shard, table);
  }

  /** Own rows with redirected rowids that the app database does not have yet. */
  get redirected(): readonly RedirectedRow[] {
    return this.#components.rowidCollisions.pending;
  }

  /** The app database reflects `position` now. */
  reflected(position: PositionVector): void {
    this.#components.rowidCollisions.reflected(position);
  }

  /** A rowid of at least `atLeast` that no row of the table ever had and that `used` does not name. */
  freeRowid(table: number, used: (rowid: bigint) => boolean, atLeast: bigint): bigint {
    return this.#components.rowidCollisions.free(this.#tables.accessTo(table), used, atLeast);
  }

  /** The row of a table without a declared key is not the row that a pending change of this node is about. */
  isOtherRow(table: number, keyId: KeyId, key: readonly Value[], base: PositionVector): boolean {
    const isInsert = this.beforeImage(table, keyId, key, base) === null;
    const { rowidCollisions } = this.#components;
    return rowidCollisions.isOther(this.#tables.accessTo(table), { key, keyId }, base, isInsert);
  }

  /** Fills `changed` after a start with all rows that the app database, which reflects `reflected`, may not have. */
  recallChanges(reflected: PositionVector): void {
    const { rowidCollisions, keyPositions, beforeImages } = this.#components;
    rowidCollisions.recall(reflected);
    for (let shard = 0; shard < this.settings.shards; shard++) {
      const from = reflected[shard] ?? 0;
      if (from >= this.position(shard)) continue;
      for (const { table, keyId } of keyPositions.since(shard, from)) this.recallRow(table, keyId);
    }
    for (const { table, keyId } of beforeImages.keys()) this.recallRow(table, keyId);
  }

  /** Adds every row of a table to `changed`: the app database has none of them. */
  recallTable(table: number): void {
    for (const keyId of this.#tables.keys(table)) this.recallRow(table, keyId);
  }

  /** Adds a row to `changed`: the app database may not have it. */
  recallRow(table: number, keyId: KeyId): void {
    const shape = this.shapes.get(table);
    if (shape === undefined) return;
    const key = keyValues(shape, keyId);
    this.changed.set(table, keyId, { key, image: this.row(table, key) });
  }

  /** Drops before images that are not needed any more; see `BeforeImages.prune`. */
  prune(synced: PositionVector, isHeld: (table: number, keyId: KeyId) => boolean): void {
    if (this.#transaction.isOpen || this.beforeImages.size === 0) return;
    this.#transaction.writing(() => this.beforeImages.prune(synced, isHeld));
  }

  /** The checksums recorded by the check entry `note` in a shard; null: not applied yet, or not kept any more. */
  check(note: string, shard: number): { index: number; sums: [number, string][] } | null {
    return this.#components.checks.find(note, shard);
  }
}
