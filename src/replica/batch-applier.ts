/** Applies one committed batch to the replica: accepts, stages or refuses it, and applies its rows or its schema change. */
import type { DatabaseSync } from "node:sqlite";
import { BatchKind, type OwnOutcome, type TableChanges } from "../change/batch.ts";
import { type BatchHead, decodeTables } from "../change/codec.ts";
import { readForeignKeys } from "../schema/foreign-keys.ts";
import { decodeSchemaEntry } from "../schema/diff/schema-entry.ts";
import { queryOf } from "../sqlite/query.ts";
import type { ChangesetContext } from "./apply/changeset.ts";
import { RowApplier } from "./apply/row-applier.ts";
import { isSettleNote } from "./conflicts/conflict-states.ts";
import type { RejectedKey } from "./migrate/journal-rejects.ts";
import { changeSchema } from "./migrate/schema-change.ts";
import { acceptBatch, joined, type OriginMemory, type Verdict } from "./order/accept-batch.ts";
import type { NextEntry } from "./order/entry-queue.ts";
import { ReferenceChecker } from "./references/checker.ts";
import type { ReferencePositions } from "./references/reference-positions.ts";
import type { ReplicaComponents } from "./replica-components.ts";
import type { ReplicaTables } from "./replica-tables.ts";
import { peerHash } from "./store/tables.ts";

type Origin = Pick<BatchHead, "origin" | "bases" | "time">;

export class BatchApplier {
  readonly #db: DatabaseSync;
  readonly #peerId: string;
  readonly #tables: ReplicaTables;
  readonly #components: ReplicaComponents;
  readonly #rows: RowApplier;
  #checker: ReferenceChecker;
  readonly #outcomes: OwnOutcome[] = [];

  constructor(db: DatabaseSync, peerId: string, tables: ReplicaTables, components: ReplicaComponents) {
    this.#db = db;
    this.#peerId = peerId;
    this.#tables = tables;
    this.#components = components;
    const { journal, beforeImages, checksums, changed, keyPositions, rowidCollisions } = components;
    journal.onAdd = (c, ordinal) =>
      components.history?.conflict([ordinal, c.table, c.keyId, c.kind, c.losingOrigin, c.winningOrigin]);
    this.#rows = new RowApplier(db, {
      ...{ journal, beforeImages, checksums, changed, keyPositions, rowidCollisions },
      history: () => components.history,
      settings: tables.settings,
      shardOfKey: (table, keyId) => tables.shardOfKey(table, keyId),
    });
    this.#checker = this.#openChecker();
  }

  #openChecker(): ReferenceChecker {
    const { access, shapes, settings } = this.#tables;
    const { journal, keyPositions, danglingReferences, losersChildren } = this.#components;
    const foreignKeys = readForeignKeys(queryOf(this.#db), [...shapes.values()]);
    const checker = new ReferenceChecker(this.#db, foreignKeys, {
      ...{ applier: this.#rows, journal, keyPositions, danglingReferences, losersChildren },
      ...{ access, settings },
    });
    this.#rows.observer = checker;
    return checker;
  }

  get referencePositions(): ReferencePositions {
    return this.#checker.referencePositions;
  }

  /** Own batches were applied since `takeOutcomes`. */
  get hasOutcomes(): boolean {
    return this.#outcomes.length > 0;
  }

  /** The results of own batches since the last call. */
  takeOutcomes(): OwnOutcome[] {
    return this.#outcomes.splice(0);
  }

  *apply(shard: number, next: NextEntry, head: BatchHead): Generator<void, void> {
    const { origins, staged, checksums, checks, formats } = this.#components;
    const { entry } = next;
    formats.applied(head.format);
    if (head.kind === BatchKind.check && isSettleNote(head.note)) {
      const by = { origin: peerHash(head.origin), time: head.time };
      this.#components.journal.states.apply(shard, head.note, by);
      return;
    }
    if (head.kind === BatchKind.check) {
      checks.record(head.note, shard, entry.index, checksums.ofShard(shard));
      return;
    }
    const memory = origins.memory(head.origin, shard);
    let verdict: Verdict | "redirect" = acceptBatch(memory, head, this.#isStale(shard, head));
    if (verdict === "ignore") return;
    if (verdict === "refuse") {
      origins.remember(head.origin, shard, { ...memory, ended: true, stagedParts: 0 });
      staged.drop(shard, head.origin);
    } else if (verdict === "stage") {
      staged.add(shard, head, entry);
      origins.remember(head.origin, shard, { ...memory, stagedParts: head.part });
    } else {
      const redirects = yield* this.#take(shard, next, head, memory);
      if (redirects) verdict = "redirect";
    }
    if (head.origin === this.#peerId)
      this.#outcomes.push({ shard, incarnation: head.incarnation, csn: head.csn, part: head.part, verdict });
  }

  /** Applies a whole changeset. True: rows of it got redirected rowids, which ends the incarnation. */
  *#take(
    shard: number,
    { entry, names }: NextEntry,
    head: BatchHead,
    memory: OriginMemory,
  ): Generator<void, boolean> {
    const { origins, staged, rowidCollisions, changed } = this.#components;
    const context = this.#contextOf(shard, entry.index, head);
    const { history } = this.#components;
    history?.begin({ shard, index: entry.index, origin: context.origin, time: head.time });
    if (head.schema !== undefined) history?.schema(head.schema);
    if (head.schema !== undefined) yield* this.changeSchema(entry.index, head, head.schema);
    changed.tying = !context.own && this.#isTied(shard, head);
    rowidCollisions.begin(context);
    if (head.part > 1)
      for (const { head: part, source } of staged.of(shard, head)) {
        history?.from(source);
        yield* this.#applyRows(this.#contextOf(shard, entry.index, part), part);
      }
    history?.from({ shard, index: entry.index, data: entry.data });
    yield* this.#applyRows(context, head);
    this.#checker.finish(context);
    changed.tying = false;
    const ended = rowidCollisions.hasRedirected;
    if (memory.stagedParts > 0) staged.drop(shard, head.origin);
    // Where transactions are whole, one watermark per change log covers all shards.
    const { transactions } = this.#tables.settings;
    origins.raise(head.origin, transactions === "whole" ? 0 : shard, head.watermarks);
    const { incarnation, csn } = head;
    origins.remember(head.origin, shard, { incarnation, csn, ended, stagedParts: 0 });
    for (const named of names) this.#join(head, named);
    return ended;
  }

  /** Made under an older schema of a table that the batch touches. A schema change touches all tables. */
  #isStale(shard: number, head: BatchHead): boolean {
    const { schemaVersion: now } = this.#tables.settings;
    if (head.schema !== undefined) return shard !== 0 || head.schemaVersion !== now;
    if (head.kind !== BatchKind.rows || head.schemaVersion === now) return false;
    if (head.schemaVersion > now || this.#tables.touchesChanged(head)) return true;
    if (head.part === 1 || head.part !== head.parts) return false;
    // The schema may have changed between the parts.
    return [...this.#components.staged.of(shard, head)].some((part) =>
      this.#tables.touchesChanged(part.head),
    );
  }

  /** The changeset has a row that the app database does not show for now: all of it waits. */
  #isTied(shard: number, head: BatchHead): boolean {
    const { heldBack, staged, changed } = this.#components;
    const { tables: incomplete } = this.#components.completion;
    if (heldBack === null && incomplete.size === 0) return false;
    const parts = head.part > 1 ? [...staged.of(shard, head)] : [];
    const heads = [...parts.map((part) => part.head), head];
    return heads.some((part) => {
      for (const { table, rows } of decodeTables(part, (id) => this.#tables.shapes.get(id)))
        if (
          incomplete.has(table) ||
          heldBack?.tables.has(table) === true ||
          rows.some((row) => heldBack?.has(table, row.keyId) === true || changed.isTied(table, row.keyId))
        )
          return true;
      return false;
    });
  }

  /** A taken entry of shard 0 becomes the last changeset of its origin in another shard that it touches. */
  #join(head: BatchHead, shard: number): void {
    const { origins, staged } = this.#components;
    const before = origins.memory(head.origin, shard);
    const memory = joined(before, head);
    if (before.stagedParts > 0 && memory.stagedParts === 0) staged.drop(shard, head.origin);
    origins.remember(head.origin, shard, memory);
  }

  *#applyRows(context: ChangesetContext, head: BatchHead): Generator<void, void> {
    for (const table of decodeTables(head, (id) => this.#tables.shapes.get(id)))
      if (this.#components.completion.tables.has(table.table)) this.#noteWaiting(table, context);
      else yield* this.#rows.apply(this.#tables.accessTo(table.table), table.rows, context);
  }

  /** The replica keeps no rows of this table; the file must show them as soon as they are here. */
  #noteWaiting({ table, rows }: TableChanges, context: ChangesetContext): void {
    const { changed, keyPositions } = this.#components;
    for (const { keyId, key } of rows) {
      keyPositions.set(table, keyId, context);
      changed.set(table, keyId, { key, image: null });
    }
  }

  #contextOf(shard: number, index: number, { origin, bases, time }: Origin): ChangesetContext {
    return { shard, index, origin: peerHash(origin), own: origin === this.#peerId, bases, time };
  }

  /** Applies a schema change at `index` of shard 0. Returns the rows that its constraints reject. */
  *changeSchema(index: number, head: Origin, bytes: Uint8Array): Generator<void, readonly RejectedKey[]> {
    const { settings, shapes } = this.#tables;
    const { journal, beforeImages, checksums, changed, completion } = this.#components;
    const { rowidCollisions, keyPositions, origins, danglingReferences } = this.#components;
    const after = yield* changeSchema(
      { settings, shapes: [...shapes.values()] },
      { entry: decodeSchemaEntry(bytes), bytes, peer: head.origin },
      {
        ...{ db: this.#db, context: this.#contextOf(0, index, head) },
        ...{ journal, beforeImages, checksums, changed, rowidCollisions, keyPositions, origins },
        completion,
      },
    );
    this.#tables.reopen(after);
    this.#components.completion.tables = after.incomplete;
    this.#components.endHistory();
    this.#components.history?.useSchema(after.settings.schemaVersion, this.#tables.shapes.values());
    this.#checker = this.#openChecker();
    danglingReferences.recount();
    return after.rejected;
  }
}
