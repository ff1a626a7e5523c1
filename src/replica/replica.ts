/**
 * S, the replica: what the cluster agreed on, and nothing else. Committed entries go in, in order, each turn in one
 * transaction with the positions, the origins' memory, checksums and journal. Equal on all nodes at equal positions.
 */
import type { DatabaseSync, StatementSync } from "node:sqlite";
import { assert } from "../base/assert.ts";
import { BatchKind, type PositionVector } from "../change/batch.ts";
import { ChangedRows, type RedirectedRow } from "../change/changed-rows.ts";
import { type BatchHead, decodeBatchHead, decodeTables, tablesIn } from "../change/codec.ts";
import { type KeyId, keyIdOf, keyValues } from "../change/key.ts";
import { readMarking } from "../change/marking.ts";
import type { BeforeImageSource } from "../change/before-image-source.ts";
import type { TableShape } from "../change/shape.ts";
import type { Image, Value } from "../change/value.ts";
import type { Entry } from "../raft/model/types.ts";
import { exactRows } from "../rows/exact-rows.ts";
import { type ForeignKey, readForeignKeys } from "../schema/foreign-keys.ts";
import { exactKey, exactKeyColumns, prepareExact, RowAccess } from "../rows/row-access.ts";
import { decodeSchemaEntry, type SchemaEntry } from "../schema/diff/schema-entry.ts";
import { queryOf } from "../sqlite/query.ts";
import { quoteIdentifier } from "../sqlite/quote.ts";
import { type ChangesetContext, type LastWrite, RowApplier } from "./apply/row-applier.ts";
import { RowidCollisions } from "./apply/rowid-collisions.ts";
import { Checksums } from "./apply/checksums.ts";
import { EntryQueue, type NextEntry } from "./order/entry-queue.ts";
import { ForeignKeys } from "./references/checker.ts";
import { Journal } from "./conflicts/journal.ts";
import type { RejectedKey } from "./migrate/journal-rejects.ts";
import { joined, acceptBatch, type Verdict } from "./order/accept-batch.ts";
import { DanglingReferences } from "./references/dangling-references.ts";
import { Origins } from "./order/origins.ts";
import { passedWith } from "./order/delivery-rule.ts";
import { References } from "./apply/before-images.ts";
import { readRouting, type RowRouting } from "./store/row-routing.ts";
import { type CatalogueObject, readObjectsOf } from "./store/schema-store.ts";
import { changeSchema } from "./migrate/schema-change.ts";
import type { ReplicaSettings } from "./store/settings.ts";
import { LosersChildren } from "./references/losers-children.ts";
import { peerHash } from "./store/tables.ts";

/** What became of one of this node's own batches. */
export interface OwnOutcome {
  readonly shard: number;
  readonly incarnation: number;
  readonly csn: number;
  readonly part: number;
  /** "move": taken, with rows under other rowids than their own, which ends the incarnation. */
  readonly verdict: "take" | "move" | "stage" | "refuse";
}

export interface ReplicaOptions {
  /** This node's. */
  readonly peerId: string;
  readonly settings: ReplicaSettings;
  readonly shapes: readonly TableShape[];
}

/** Checks kept in the replica. */
const CHECKS_KEPT = 16;

export class Replica implements BeforeImageSource {
  #settings: ReplicaSettings;
  #shapes: ReadonlyMap<number, TableShape>;
  /** Table ⇒ version of the schema at which it was last another thing. */
  readonly #tableVersions = new Map<number, number>();
  /** Rows that the live file may not show yet. The reflector empties it. */
  readonly changed = new ChangedRows();
  /** Rows that the application's file does not show for now; null: it can show all. Set by the owner of that file. */
  heldBack: { readonly tables: ReadonlySet<number>; has(table: number, keyId: KeyId): boolean } | null = null;
  readonly journal: Journal;
  readonly origins: Origins;
  readonly checksums: Checksums;
  readonly references: References;
  readonly losersChildren: LosersChildren;
  readonly danglingReferences: DanglingReferences;
  readonly births: RowidCollisions;
  readonly #db: DatabaseSync;
  readonly #peerId: string;
  readonly #access = new Map<number, RowAccess>();
  readonly #applier: RowApplier;
  #foreignKeys: ForeignKeys;
  readonly #positions: { index: number; term: number }[] = [];
  readonly #queue: EntryQueue;
  #routing: RowRouting;
  /** Changesets are whole over several shards: an origin has one watermark per change log, kept with shard 0. */
  readonly #whole: boolean;
  readonly #outcomes: OwnOutcome[] = [];
  readonly #dirtyShards = new Set<number>();
  readonly #statements: Record<
    "begin" | "commit" | "rollback" | "position" | "stage" | "staged" | "unstage" | "check" | "trimChecks",
    StatementSync
  >;
  #running: Generator<void, void> | null = null;
  #open = false;

  /** `db` stays the caller's to close, after the last call. */
  constructor(db: DatabaseSync, options: ReplicaOptions) {
    this.#db = db;
    this.#peerId = options.peerId;
    this.#settings = options.settings;
    this.#shapes = new Map(options.shapes.map((s) => [s.id, s]));
    this.#whole = options.settings.transactions === "whole";
    this.#queue = new EntryQueue(options.settings.shards, (shard) => this.position(shard));
    this.journal = new Journal(db);
    this.references = new References(db);
    this.losersChildren = new LosersChildren(db);
    this.checksums = new Checksums(db);
    this.origins = new Origins(db);
    this.danglingReferences = new DanglingReferences(db);
    this.births = new RowidCollisions(db, peerHash(options.peerId));
    this.#applier = new RowApplier(db, this);
    this.#routing = readRouting(db, options.shapes, options.settings);
    this.#foreignKeys = this.#openTables();
    const positions = db.prepare(`SELECT "idx", "term" FROM "__marmot__position" ORDER BY "shard"`);
    for (const row of positions.all() as { idx: number; term: number }[])
      this.#positions.push({ index: row.idx, term: row.term });
    assert(this.#positions.length === options.settings.shards, "the replica has a position for every shard");
    const staged = `FROM "__marmot__staged" WHERE "peer" = ? AND "shard" = ?`;
    this.#statements = {
      begin: db.prepare("BEGIN IMMEDIATE"),
      commit: db.prepare("COMMIT"),
      rollback: db.prepare("ROLLBACK"),
      position: db.prepare(`UPDATE "__marmot__position" SET "idx" = ?, "term" = ? WHERE "shard" = ?`),
      stage: db.prepare(`INSERT INTO "__marmot__staged" VALUES(?, ?, ?, ?, ?, ?)`),
      staged: db.prepare(`SELECT "data" ${staged} AND "incarnation" = ? AND "csn" = ? ORDER BY "part"`),
      unstage: db.prepare(`DELETE ${staged}`),
      check: db.prepare(`INSERT OR REPLACE INTO "__marmot__check" VALUES(?, ?, ?, ?)`),
      trimChecks: db.prepare(
        `DELETE FROM "__marmot__check" WHERE "shard" = ?1 AND "idx" NOT IN
           (SELECT "idx" FROM "__marmot__check" WHERE "shard" = ?1 ORDER BY "idx" DESC LIMIT ${CHECKS_KEPT})`,
      ),
    };
    this.#statements.staged.setReturnArrays(true);
  }

  get settings(): ReplicaSettings {
    return this.#settings;
  }

  get shapes(): ReadonlyMap<number, TableShape> {
    return this.#shapes;
  }

  /** All that hangs on what the tables are now. */
  #openTables(): ForeignKeys {
    const { journal, losersChildren, danglingReferences, settings } = this;
    this.#access.clear();
    for (const [id, shape] of this.#shapes)
      this.#access.set(id, new RowAccess(this.#db, shape, settings.encoding));
    this.#tableVersions.clear();
    const versions = this.#db.prepare(`SELECT "tbl", "version" FROM "__marmot__table_version"`);
    for (const { tbl, version } of versions.all() as { tbl: number; version: number }[])
      this.#tableVersions.set(tbl, version);
    const foreignKeys = new ForeignKeys(
      this.#db,
      readForeignKeys(queryOf(this.#db), [...this.#shapes.values()]),
      {
        ...{
          applier: this.#applier,
          access: this.#access,
          journal,
          losersChildren,
          danglingReferences,
          settings,
        },
      },
    );
    this.#applier.observer = foreignKeys;
    return foreignKeys;
  }

  /** The catalogue, as the application's file must have it. */
  catalogue(): readonly CatalogueObject[] {
    return readObjectsOf(this.#db);
  }

  /** What led from the schema of `version` to the one that holds now, in order. */
  schemaEntriesAfter(version: number): { peer: string; entry: SchemaEntry }[] {
    const rows = this.#db
      .prepare(`SELECT "peer", "entry" FROM "__marmot__schema" WHERE "version" > ? ORDER BY "version"`)
      .all(version) as { peer: string; entry: Uint8Array }[];
    return rows.map(({ peer, entry }) => ({ peer, entry: decodeSchemaEntry(entry) }));
  }

  position(shard: number): number {
    return this.#positions[shard]!.index;
  }

  term(shard: number): number {
    return this.#positions[shard]!.term;
  }

  positions(): number[] {
    return this.#positions.map((p) => p.index);
  }

  /** Entries that were handed over and are not applied yet; some may wait for other shards. */
  get queued(): number {
    return this.#queue.size;
  }

  /** Something that was handed over can be applied now. */
  get runnable(): boolean {
    return this.#running !== null || this.#queue.passable() !== null;
  }

  /** Shards in which shard 0 waits for a marker. */
  awaitedMarkers(): number[] {
    return this.#queue.awaited();
  }

  /** Index of the last entry of the shard that was handed over. */
  lastQueued(shard: number): number {
    return this.#queue.lastIndex(shard) ?? this.position(shard);
  }

  /** Committed entries of a shard, following those handed over before. */
  enqueue(shard: number, entries: readonly Entry[]): void {
    this.#queue.add(shard, entries);
  }

  /**
   * Applies what may be applied until `expired()` says that the slice is over; a changeset in the middle keeps its
   * transaction open over the slices, so nobody ever sees a part of it. True: everything that need not wait for another
   * shard is applied and committed. Throws what SQLite throws: then nothing of the open transaction is kept and the node
   * must stop.
   */
  advance(expired: () => boolean): boolean {
    try {
      while (this.runnable) {
        if (!this.#open) {
          this.#statements.begin.run();
          this.#open = true;
        }
        this.#running ??= this.#applyNext(this.#queue.passable()!);
        if (this.#running.next().done) this.#running = null;
        if (expired()) break;
      }
      if (this.#open && this.#running === null) this.#commit();
    } catch (error) {
      // A full disk makes SQLite roll back by itself.
      if (this.#open && this.#db.isTransaction) this.#statements.rollback.run();
      this.#open = false;
      throw error;
    }
    return !this.#open && !this.runnable;
  }

  #commit(): void {
    for (const shard of this.#dirtyShards) {
      const { index, term } = this.#positions[shard]!;
      this.#statements.position.run(index, term, shard);
    }
    this.#dirtyShards.clear();
    this.origins.flush();
    this.checksums.flush();
    this.births.flush();
    this.#statements.commit.run();
    this.#open = false;
  }

  *#applyNext(shard: number): Generator<void, void> {
    const next = this.#queue.next(shard)!;
    if (next.head !== null) yield* this.#applyBatch(shard, next, next.head);
    // Where it takes effect, it does so at once: no position without the others.
    const together = passedWith(next, this.#queue);
    this.#pass(shard);
    for (const named of together) this.#pass(named);
  }

  #pass(shard: number): void {
    const { entry } = this.#queue.next(shard)!;
    const position = this.#positions[shard]!;
    assert(entry.index === position.index + 1, `shard ${shard} applies entries one after the other`);
    position.index = entry.index;
    position.term = entry.term;
    this.#dirtyShards.add(shard);
    this.#queue.passed(shard);
  }

  *#applyBatch(shard: number, { entry, names }: NextEntry, head: BatchHead): Generator<void, void> {
    if (head.kind === BatchKind.check) {
      this.#statements.check.run(
        head.note,
        shard,
        entry.index,
        JSON.stringify(this.checksums.ofShard(shard)),
      );
      this.#statements.trimChecks.run(shard);
      return;
    }
    const memory = this.origins.memory(head.origin, shard);
    let verdict: Verdict | "move" = acceptBatch(memory, head, this.#isStale(shard, head));
    if (verdict === "ignore") return;
    if (verdict === "refuse") {
      this.origins.remember(head.origin, shard, { ...memory, ended: true, stagedParts: 0 });
      this.#statements.unstage.run(head.origin, shard);
    } else if (verdict === "stage") {
      this.#statements.stage.run(head.origin, shard, head.incarnation, head.csn, head.part, entry.data);
      this.origins.remember(head.origin, shard, { ...memory, stagedParts: head.part });
    } else {
      const context = this.#contextOf(shard, entry.index, head);
      this.changed.tying = !context.own && this.#isTied(shard, head);
      if (head.schema !== undefined) yield* this.#changeSchema(entry.index, head, head.schema);
      this.births.begin(context);
      if (head.part > 1) yield* this.#applyStaged(shard, entry.index, head);
      yield* this.#applyRows(context, head);
      this.#foreignKeys.finish(context);
      this.changed.tying = false;
      const ended = this.births.hasMoved;
      if (ended) verdict = "move";
      if (memory.stagedParts > 0) this.#statements.unstage.run(head.origin, shard);
      this.origins.raise(head.origin, this.#whole ? 0 : shard, head.watermarks);
      const { incarnation, csn } = head;
      this.origins.remember(head.origin, shard, { incarnation, csn, ended, stagedParts: 0 });
      for (const named of names) this.#joinChain(head, named);
    }
    if (head.origin === this.#peerId)
      this.#outcomes.push({ shard, incarnation: head.incarnation, csn: head.csn, part: head.part, verdict });
  }

  /** Made under a schema that has changed since in what the batch touches; a change of the schema touches all of it. */
  #isStale(shard: number, head: BatchHead): boolean {
    const { schemaVersion: now } = this.#settings;
    if (head.schema !== undefined) return shard !== 0 || head.schemaVersion !== now;
    if (head.kind !== BatchKind.rows || head.schemaVersion === now) return false;
    if (head.schemaVersion > now || this.#touchesChanged(head)) return true;
    if (head.part === 1 || head.part !== head.parts) return false;
    // The schema may have changed between its parts.
    const parts = this.#statements.staged.all(head.origin, shard, head.incarnation, head.csn);
    return (parts as unknown as [Uint8Array][]).some(([data]) =>
      this.#touchesChanged(decodeBatchHead(readMarking(data).batch)),
    );
  }

  #touchesChanged(head: BatchHead): boolean {
    return tablesIn(head).some(
      (table) => !this.#shapes.has(table) || (this.#tableVersions.get(table) ?? 0) > head.schemaVersion,
    );
  }

  /**
   * What the replica would be: in a transaction of the caller, who rolls it back and closes this replica afterwards. Returns
   * the rows that constraints leave no room for, as long as nothing is known of what the file holds of them.
   */
  *trySchema(bytes: Uint8Array): Generator<void, readonly RejectedKey[]> {
    const head = { origin: this.#peerId, bases: [], time: 0 };
    return yield* this.#changeSchema(this.position(0) + 1, head, bytes);
  }

  *#changeSchema(
    index: number,
    head: Pick<BatchHead, "origin" | "bases" | "time">,
    bytes: Uint8Array,
  ): Generator<void, readonly RejectedKey[]> {
    const { journal, references, checksums, changed, births, origins } = this;
    const last = (table: number, keyId: KeyId): LastWrite | null => this.#applier.last(table, keyId);
    const after = yield* changeSchema(
      this.#db,
      { settings: this.#settings, shapes: [...this.#shapes.values()] },
      decodeSchemaEntry(bytes),
      head.origin,
      bytes,
      this.#contextOf(0, index, head),
      { journal, references, checksums, changed, births, origins, last },
    );
    this.#settings = after.settings;
    this.#shapes = new Map(after.shapes.map((s) => [s.id, s]));
    this.#routing = readRouting(this.#db, after.shapes, after.settings);
    this.#foreignKeys = this.#openTables();
    this.danglingReferences.recount();
    return after.rejected;
  }

  /** An entry of shard 0 is the last changeset of its origin in every shard that it touches. */
  #joinChain(head: BatchHead, shard: number): void {
    const before = this.origins.memory(head.origin, shard);
    const memory = joined(before, head);
    if (before.stagedParts > 0 && memory.stagedParts === 0) this.#statements.unstage.run(head.origin, shard);
    this.origins.remember(head.origin, shard, memory);
  }

  /** The changeset has a row that the application's file does not show for now. */
  #isTied(shard: number, head: BatchHead): boolean {
    const held = this.heldBack;
    if (held === null) return false;
    const heads = [head];
    if (head.part > 1)
      for (const [data] of this.#statements.staged.all(
        head.origin,
        shard,
        head.incarnation,
        head.csn,
      ) as unknown as [Uint8Array][])
        heads.push(decodeBatchHead(readMarking(data).batch));
    return heads.some((part) => {
      if (tablesIn(part).some((table) => held.tables.has(table))) return true;
      for (const { table, rows } of decodeTables(part, (id) => this.shapes.get(id)))
        if (rows.some((row) => held.has(table, row.keyId) || this.changed.isTied(table, row.keyId)))
          return true;
      return false;
    });
  }

  *#applyStaged(shard: number, index: number, last: BatchHead): Generator<void, void> {
    const rows = this.#statements.staged.iterate(last.origin, shard, last.incarnation, last.csn);
    for (const [data] of rows as unknown as Iterable<[Uint8Array]>) {
      const head = decodeBatchHead(readMarking(data).batch);
      yield* this.#applyRows(this.#contextOf(shard, index, head), head);
    }
  }

  *#applyRows(context: ChangesetContext, head: BatchHead): Generator<void, void> {
    for (const table of decodeTables(head, (id) => this.shapes.get(id)))
      yield* this.#applier.apply(this.#access.get(table.table)!, table.rows, context);
  }

  #contextOf(
    shard: number,
    index: number,
    { origin, bases, time }: Pick<BatchHead, "origin" | "bases" | "time">,
  ): ChangesetContext {
    return { shard, index, origin: peerHash(origin), own: origin === this.#peerId, bases, time };
  }

  /** No transaction is open: what is read here is committed, and a whole number of changesets. */
  get betweenEntries(): boolean {
    return !this.#open;
  }

  /** What became of own batches since the last call, committed in the replica. */
  takeOutcomes(): OwnOutcome[] {
    return this.#open ? [] : this.#outcomes.splice(0);
  }

  /** The row as the cluster agreed on it. */
  row(table: number, key: readonly Value[]): Value[] | null {
    return this.#access.get(table)!.get(key);
  }

  /** All rows of a table, in the order of the key. Nothing else is done to the replica meanwhile. */
  rows(table: number): Iterable<Image> {
    return exactRows(this.#db, this.#shapes.get(table)!, this.#settings.encoding);
  }

  /** Where the row's reference was written, and by whom; null: before the replica's beginning. */
  referenceWritten(foreignKey: ForeignKey, keyId: KeyId): LastWrite | null {
    return this.#foreignKeys.attached.at(foreignKey, keyId);
  }

  shardOfKey(table: number, keyId: KeyId): number {
    return this.#routing.shardOf(this.shapes.get(table)!, keyId);
  }

  reference(table: number, keyId: KeyId, key: readonly Value[], base: PositionVector): Image | null {
    const before = this.references.at(table, keyId, base);
    return before === undefined ? this.row(table, key) : before;
  }

  watermark(table: number, keyId: KeyId): number {
    return this.origins.watermark(this.#peerId, this.#whole ? 0 : this.shardOfKey(table, keyId), table);
  }

  /**
   * Fills `changed` after a start: everything that the live file, which reflects `reflected`, may not show.
   */
  recallChanges(reflected: PositionVector): void {
    this.births.recall(reflected);
    const since = this.#db.prepare(
      `SELECT "tbl", "key" FROM "__marmot__key" WHERE "shard" = ? AND "idx" > ?`,
    );
    since.setReturnArrays(true);
    for (let shard = 0; shard < this.#positions.length; shard++) {
      if ((reflected[shard] ?? 0) >= this.position(shard)) continue;
      for (const row of since.all(shard, reflected[shard] ?? 0) as unknown as [number, KeyId][])
        this.#recall(row[0], row[1]);
    }
    for (const { table, keyId } of this.references.keys()) this.#recall(table, keyId);
  }

  /** Own rows that went in under other rowids, which the live file does not show. */
  get moved(): readonly RedirectedRow[] {
    return this.births.moved;
  }

  /** A rowid that no row of the table ever had, also none that `used` names. */
  freeRowid(table: number, used: (rowid: bigint) => boolean, atLeast: bigint): bigint {
    return this.births.free(this.#access.get(table)!, used, atLeast);
  }

  #recall(table: number, keyId: KeyId): void {
    const shape = this.shapes.get(table);
    if (shape === undefined) return;
    const key = keyValues(shape, keyId);
    this.changed.set(table, keyId, { key, image: this.row(table, key) });
  }

  /** Notes every row of a table that the live file has none of: none of them is shown. */
  recallTable(table: number): void {
    const shape = this.#shapes.get(table)!;
    const keys = shape.key.map((k) => quoteIdentifier(shape.columns[k]!.name));
    const rows = prepareExact(
      this.#db,
      `SELECT ${exactKeyColumns(shape, keys)} FROM main.${quoteIdentifier(shape.name)}`,
    );
    for (const row of rows.all() as unknown as Value[][])
      this.#recall(table, keyIdOf(shape, exactKey(shape, row, this.#settings.encoding)));
  }

  /** A row that the live file may not show, whatever was remembered of it. */
  recallRow(table: number, keyId: KeyId): void {
    this.#recall(table, keyId);
  }

  /** Drops references that the live file durably shows; see `References.prune`. */
  prune(synced: PositionVector, held: (table: number, keyId: KeyId) => boolean): void {
    if (this.#open || this.references.size === 0) return;
    this.#statements.begin.run();
    this.references.prune(synced, held);
    this.#statements.commit.run();
  }

  /** Checksums recorded by the check entry `note` in a shard, or null: not reached yet, or too long ago. */
  check(note: string, shard: number): { index: number; sums: [number, string][] } | null {
    const row = this.#db.prepare(
      `SELECT "idx", "sums" FROM "__marmot__check" WHERE "note" = ? AND "shard" = ?`,
    );
    const found = row.get(note, shard) as { idx: number; sums: string } | undefined;
    return found === undefined
      ? null
      : { index: found.idx, sums: JSON.parse(found.sums) as [number, string][] };
  }
}
