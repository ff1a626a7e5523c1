/**
 * Declared foreign keys under concurrency (`--foreign-keys`): a reference is looked at when it is left dangling by writes
 * that did not know of each other, and only then. What an application writes dangling itself, because it does not enforce
 * foreign keys, is its own affair. Everything here follows from the order alone.
 */
import type { DatabaseSync, StatementSync } from "node:sqlite";
import type { PositionVector } from "../change/batch.ts";
import { encodeImage } from "../change/codec.ts";
import { type KeyId, keyIdOf, keyIdOfImage, keyOfImage } from "../change/key.ts";
import type { TableShape } from "../change/shape.ts";
import type { Image, Value } from "../change/value.ts";
import type { ForeignKey } from "../schema/foreign-keys.ts";
import type { RowAccess } from "../schema/row-access.ts";
import type { ChangesetContext, LastWrite, RowApplier } from "./apply-rows.ts";
import { CheckedForeignKey } from "./foreign-key.ts";
import type { ConflictKind, Journal } from "./journal.ts";
import type { Orphans } from "./orphans.ts";
import type { ReplicaSettings } from "./settings.ts";
import type { Strays } from "./strays.ts";

/** Origin of what the order itself wrote: nobody's, so every writer that came without knowing it is in conflict with it. */
export const RESOLVED = 0;

/** Deleted rows of a changeset that are kept to be put back; beyond it references to them are kept dangling. */
const DELETED_KEPT = 10_000;
/** Levels of children that a cascade looks down. */
const MAX_DEPTH = 32;

interface Candidate {
  readonly via: CheckedForeignKey;
  /** The reference, as the child spells it; null: it is gone already. */
  readonly values: readonly Value[] | null;
  readonly childKey: readonly Value[];
  /** "child": the changeset wrote the reference; "parent": it took the parent away; "order": a resolution did. */
  readonly side: "child" | "parent" | "order";
  /** Who wrote the other side. */
  readonly other: number;
  /** The child before the changeset, for "child"; the parent before it, for "parent". */
  readonly before: Image | null;
}

export interface ForeignKeyComponents {
  readonly applier: RowApplier;
  readonly journal: Journal;
  readonly orphans: Orphans;
  readonly strays: Strays;
  readonly access: ReadonlyMap<number, RowAccess>;
  readonly settings: Pick<ReplicaSettings, "foreignKeys" | "shards" | "transactions">;
}

export class ForeignKeys {
  readonly #components: ForeignKeyComponents;
  readonly #ofChild = new Map<number, CheckedForeignKey[]>();
  readonly #ofParent = new Map<number, CheckedForeignKey[]>();
  readonly #attached: Record<"select" | "insert" | "delete", StatementSync>;
  /** Rows that constrain each other share one order. */
  readonly #ordered: boolean;
  #candidates: Candidate[] = [];
  /** "table/key" ⇒ rows of parent tables that the changeset deleted. */
  readonly #deleted = new Map<string, Image>();

  constructor(db: DatabaseSync, foreignKeys: readonly ForeignKey[], components: ForeignKeyComponents) {
    this.#components = components;
    const { shards, transactions } = components.settings;
    this.#ordered = shards === 1 || transactions === "whole";
    for (const key of foreignKeys) {
      const checked = new CheckedForeignKey(db, key);
      for (const [map, { id }] of [
        [this.#ofChild, key.child],
        [this.#ofParent, key.parent],
      ] as const)
        map.set(id, [...(map.get(id) ?? []), checked]);
    }
    const where = `WHERE "tbl" = ? AND "key" = ? AND "number" = ?`;
    this.#attached = {
      select: db.prepare(`SELECT "shard", "idx", "origin" FROM "__marmot__attached" ${where}`),
      insert: db.prepare(`INSERT OR IGNORE INTO "__marmot__attached" VALUES(?, ?, ?, ?, ?, ?)`),
      delete: db.prepare(`DELETE FROM "__marmot__attached" ${where}`),
    };
    this.#attached.select.setReturnArrays(true);
  }

  get #resolves(): boolean {
    return this.#ordered && this.#components.settings.foreignKeys === "resolve";
  }

  /** A row was written. `last`: its last write before; `base`: what the writer had seen. */
  wrote(
    shape: TableShape,
    keyId: KeyId,
    old: Image | null,
    image: Image | null,
    last: LastWrite | null,
    base: PositionVector | undefined,
    context: ChangesetContext,
  ): void {
    const asChild = this.#ofChild.get(shape.id);
    const asParent = this.#ofParent.get(shape.id);
    if (asChild !== undefined) this.#wroteChild(asChild, shape, keyId, old, image, last, base, context);
    if (asParent !== undefined) this.#wroteParent(asParent, shape, keyId, old, image, base, context);
  }

  #unseen(last: LastWrite | null, base: PositionVector | undefined, context: ChangesetContext): boolean {
    return last !== null && last.origin !== context.origin && last.index > (base?.[last.shard] ?? 0);
  }

  #wroteChild(
    keys: readonly CheckedForeignKey[],
    shape: TableShape,
    keyId: KeyId,
    old: Image | null,
    image: Image | null,
    last: LastWrite | null,
    base: PositionVector | undefined,
    context: ChangesetContext,
  ): void {
    const { strays, applier } = this.#components;
    if (old !== null) strays.forget(shape.id, keyId);
    for (const via of keys) {
      const { number, parent } = via.key;
      const values = image === null ? null : via.valuesOf(image);
      const before = old === null ? null : via.valuesOf(old);
      if (image !== null && old !== null && via.same(values, before)) {
        // The reference is older than this write.
        const { shard, index, origin } = last ?? { shard: context.shard, index: 0, origin: 0 };
        if (values !== null) this.#attached.insert.run(shape.id, keyId, number, shard, index, origin);
        continue;
      }
      if (old !== null) {
        this.#attached.delete.run(shape.id, keyId, number);
        this.#components.orphans.forget(shape.id, keyId, number);
      }
      if (values === null || image === null) continue;
      const present = via.hasParent(values);
      if (present && !this.#components.journal.hasReplaced(parent.id)) continue;
      const parentKey = via.parentKeyId(values);
      const parentLast = parentKey === null ? null : applier.last(parent.id, parentKey);
      // Or the order wrote the row itself, unknown to this writer, who brings the reference back.
      const undone = last?.origin === RESOLVED && this.#unseen(last, base, context);
      if (parentKey === null || !(this.#unseen(parentLast, base, context) || (undone && !present))) continue;
      if (present) this.#noteStray(shape, keyId, via, parentKey, base, context);
      else
        this.#candidates.push({
          via,
          values,
          childKey: keyOfImage(shape, image),
          side: "child",
          other: parentLast?.origin ?? RESOLVED,
          before: old,
        });
    }
  }

  /** The parent that the writer meant lost its key to another row meanwhile. */
  #noteStray(
    shape: TableShape,
    keyId: KeyId,
    via: CheckedForeignKey,
    parentKey: KeyId,
    base: PositionVector | undefined,
    context: ChangesetContext,
  ): void {
    if (!this.#ordered) return;
    for (const conflict of this.#components.journal.replacedIn(via.key.parent.id)) {
      const unknown = conflict.index > (base?.[conflict.shard] ?? 0);
      if (conflict.keyId === parentKey && conflict.losingOrigin === context.origin && unknown)
        this.#components.strays.note(shape.id, keyId, conflict);
    }
  }

  #wroteParent(
    keys: readonly CheckedForeignKey[],
    shape: TableShape,
    keyId: KeyId,
    old: Image | null,
    image: Image | null,
    base: PositionVector | undefined,
    context: ChangesetContext,
  ): void {
    const { orphans } = this.#components;
    for (const via of keys) {
      const { child } = via.key;
      const now = image === null ? null : via.referencedBy(image);
      const before = old === null ? null : via.referencedBy(old);
      if (via.same(now, before)) continue;
      if (now !== null && orphans.total > 0)
        for (const key of via.children(now)) orphans.forget(child.id, keyIdOf(child, key), via.key.number);
      if (before === null) continue;
      for (const childKey of via.children(before)) {
        const written = this.#attachedAt(via, keyIdOf(child, childKey));
        if (!this.#unseen(written, base, context)) continue;
        const values = this.#valuesOf(via, childKey);
        this.#candidates.push({ via, values, childKey, side: "parent", other: written!.origin, before: old });
      }
    }
    if (old !== null && image === null && this.#resolves && this.#deleted.size < DELETED_KEPT)
      this.#deleted.set(`${shape.id}/${keyId}`, old);
  }

  /** The reference as the child spells it: a collation may hold for equal what is spelt otherwise. */
  #valuesOf(via: CheckedForeignKey, childKey: readonly Value[]): readonly Value[] | null {
    const row = this.#components.access.get(via.key.child.id)!.get(childKey);
    return row === null ? null : via.valuesOf(row);
  }

  /** Where a row's reference was written. */
  #attachedAt(via: CheckedForeignKey, keyId: KeyId): LastWrite | null {
    const { child, number } = via.key;
    const row = this.#attached.select.get(child.id, keyId, number) as unknown as
      [number, number, number] | undefined;
    if (row === undefined) return this.#components.applier.last(child.id, keyId);
    return { shard: row[0], index: row[1], origin: row[2] };
  }

  /** The changeset is in whole: what dangles because of it is kept or resolved. */
  finish(context: ChangesetContext): void {
    for (let i = 0; i < this.#candidates.length; i++) {
      const candidate = this.#candidates[i]!;
      const { via, values, childKey } = candidate;
      const child = this.#components.access.get(via.key.child.id)!;
      const now = child.get(childKey);
      if (now === null || values === null || !via.same(via.valuesOf(now), values)) continue;
      if (via.hasParent(values)) continue;
      if (!this.#resolves || !this.#resolve(candidate, child, now, context))
        this.#keep(candidate, now, context);
    }
    this.#candidates = [];
    this.#deleted.clear();
  }

  #add(
    kind: ConflictKind,
    shape: TableShape,
    keyId: KeyId,
    lost: { origin: number; at: LastWrite | null; image: Image | null },
    stands: { origin: number; image: Image | null },
    context: ChangesetContext,
  ): void {
    this.#components.journal.add({
      shard: context.shard,
      index: context.index,
      table: shape.id,
      keyId,
      kind,
      losingOrigin: lost.origin,
      losingPosition: lost.at,
      losingImage: lost.image === null ? null : encodeImage(lost.image),
      winningOrigin: stands.origin,
      winningImage: stands.image === null ? null : encodeImage(stands.image),
      time: context.time,
    });
  }

  #keep({ via, childKey, side, other }: Candidate, now: Image, context: ChangesetContext): void {
    const { child, number } = via.key;
    const keyId = keyIdOf(child, childKey);
    if (!this.#components.orphans.note(child.id, keyId, number) || !this.#ordered) return;
    const at = this.#components.applier.last(child.id, keyId);
    const deleter = side === "child" ? other : context.origin;
    const lost = { origin: at?.origin ?? 0, at, image: now };
    this.#add("orphan", child, keyId, lost, { origin: deleter, image: null }, context);
  }

  /** False: the declared action cannot be done here; the reference is kept. */
  #resolve(candidate: Candidate, child: RowAccess, now: Image, context: ChangesetContext): boolean {
    const { via, side, other } = candidate;
    const deleter = side === "child" ? other : context.origin;
    const action = via.key.onDelete;
    if (action === "CASCADE") {
      if (this.#blocked(child.shape, now, 0)) return false;
      this.#force("cascaded", child, now, null, deleter, context);
      return true;
    }
    if ((action === "SET NULL" || action === "SET DEFAULT") && via.replacement !== null) {
      const { columns } = via.key;
      const image = now.map((v, i) => (columns.includes(i) ? via.replacement![columns.indexOf(i)]! : v));
      const led = via.valuesOf(image);
      if ((led === null || via.hasParent(led)) && child.clashes(image).length === 0) {
        const kind = action === "SET NULL" ? "set null" : "set default";
        this.#force(kind, child, now, image, deleter, context);
        return true;
      }
    }
    // An application that enforces the key would have seen the later of the two writes refused.
    if (side === "parent") return this.#putBack(candidate, context);
    const before = side === "order" ? null : candidate.before;
    if (before !== null && child.clashes(before).length > 0) return false;
    if (before === null && this.#blocked(child.shape, now, 0, true)) return false;
    this.#force("refused", child, now, before, deleter, context);
    return true;
  }

  /** Rows that refer to this one would have to be refused, or the cascade would not end. `anything`: of this order they are undone, too. */
  #blocked(shape: TableShape, image: Image, depth: number, anything = false): boolean {
    if (depth >= MAX_DEPTH) return true;
    return (this.#ofParent.get(shape.id) ?? []).some((via) => {
      const values = via.referencedBy(image);
      const { onDelete, child } = via.key;
      const self = child.id === shape.id ? keyIdOfImage(shape, image) : null;
      const found = values === null ? [] : via.children(values);
      const children = found.filter((key) => keyIdOf(child, key) !== self);
      if (children.length === 0) return false;
      const settable = via.replacement !== null && (onDelete === "SET NULL" || onDelete === "SET DEFAULT");
      if (onDelete !== "CASCADE") return !settable && !anything;
      const access = this.#components.access.get(child.id)!;
      return children.some((key) => {
        const row = access.get(key);
        return row !== null && this.#blocked(child, row, depth + 1, anything);
      });
    });
  }

  /** The order itself writes a child; what refers to it is looked at in turn. */
  #force(
    kind: ConflictKind,
    access: RowAccess,
    now: Image,
    image: Image | null,
    deleter: number,
    context: ChangesetContext,
  ): void {
    const { applier, orphans, strays } = this.#components;
    const { shape } = access;
    const keyId = keyIdOfImage(shape, now);
    const at = applier.last(shape.id, keyId);
    const stands = applier.force(access, keyId, keyOfImage(shape, now), image, RESOLVED, context);
    const lost = { origin: at?.origin ?? 0, at, image: now };
    this.#add(kind, shape, keyId, lost, { origin: deleter, image: stands }, context);
    orphans.forget(shape.id, keyId);
    for (const via of this.#ofChild.get(shape.id) ?? []) {
      this.#attached.delete.run(shape.id, keyId, via.key.number);
      // What stands now may refer to what this very changeset took away.
      const values = stands === null ? null : via.valuesOf(stands);
      const gone = values === null || via.hasParent(values) ? undefined : this.#goneParent(via, values);
      if (gone !== undefined)
        this.#candidates.push({
          ...{ via, values, childKey: keyOfImage(shape, now), side: "parent" },
          ...{ other: lost.origin, before: gone },
        });
    }
    if (image === null) strays.forget(shape.id, keyId);
    for (const via of this.#ofParent.get(shape.id) ?? []) {
      const values = via.referencedBy(now);
      if (values === null || via.same(values, stands === null ? null : via.referencedBy(stands))) continue;
      for (const childKey of via.children(values)) {
        const spelt = this.#valuesOf(via, childKey);
        this.#candidates.push({ via, values: spelt, childKey, side: "order", other: deleter, before: null });
      }
    }
  }

  /** The parent that these values refer to, if the changeset deleted it. */
  #goneParent(via: CheckedForeignKey, values: readonly Value[]): Image | undefined {
    const key = via.parentKeyId(values);
    return key === null ? undefined : this.#deleted.get(`${via.key.parent.id}/${key}`);
  }

  /** The parent's delete, or the change of what is referred to, is undone; and of the rows that it needs itself. */
  #putBack({ via, before, other }: Candidate, context: ChangesetContext): boolean {
    const access = this.#components.access.get(via.key.parent.id)!;
    const image = before!;
    const key = keyOfImage(access.shape, image);
    if (access.clashes(image).length > 0) return false;
    const now = access.get(key);
    const keyId = keyIdOf(access.shape, key);
    this.#components.applier.force(access, keyId, key, image, RESOLVED, context);
    const at = { shard: context.shard, index: context.index, origin: context.origin };
    const lost = { origin: context.origin, at, image: now };
    this.#add("refused", access.shape, keyId, lost, { origin: other, image }, context);
    for (const up of this.#ofChild.get(access.shape.id) ?? []) {
      const values = up.valuesOf(image);
      if (values === null || up.hasParent(values)) continue;
      const gone = this.#goneParent(up, values);
      // What this changeset did not take away dangled before.
      if (gone !== undefined)
        this.#putBack({ via: up, values, childKey: key, side: "parent", other, before: gone }, context);
    }
    return true;
  }
}
