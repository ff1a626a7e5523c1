/**
 * Declared foreign keys under concurrency (`--foreign-keys`): a reference is looked at when it is left dangling by writes
 * that did not know of each other, and only then. What an application writes dangling itself, because it does not enforce
 * foreign keys, is its own affair. Everything here follows from the order alone.
 */
import type { DatabaseSync } from "node:sqlite";
import type { PositionVector } from "../../change/batch.ts";
import { type KeyId, keyIdOf, keyOfImage } from "../../change/key.ts";
import type { TableShape } from "../../change/shape.ts";
import type { Image } from "../../change/value.ts";
import type { ForeignKey } from "../../schema/foreign-keys.ts";
import type { RowAccess } from "../../rows/row-access.ts";
import type { ChangesetContext, LastWrite, RowApplier } from "../apply/row-applier.ts";
import { ReferencePositions } from "./reference-positions.ts";
import { CheckedForeignKey } from "./checked-foreign-key.ts";
import type { Journal } from "../conflicts/journal.ts";
import type { DanglingReferences } from "./dangling-references.ts";
import { type Candidate, RESOLVED, Resolver } from "./resolver.ts";
import type { ReplicaSettings } from "../store/settings.ts";
import type { LosersChildren } from "./losers-children.ts";

/** Deleted rows of a changeset that are kept to be put back; beyond it references to them are kept dangling. */
const DELETED_KEPT = 10_000;

export interface ForeignKeyComponents {
  readonly applier: RowApplier;
  readonly journal: Journal;
  readonly danglingReferences: DanglingReferences;
  readonly losersChildren: LosersChildren;
  readonly access: ReadonlyMap<number, RowAccess>;
  readonly settings: Pick<ReplicaSettings, "foreignKeys" | "shards" | "transactions">;
}

export class ForeignKeys {
  readonly #components: ForeignKeyComponents;
  readonly #ofChild = new Map<number, CheckedForeignKey[]>();
  readonly #ofParent = new Map<number, CheckedForeignKey[]>();
  readonly attached: ReferencePositions;
  readonly #resolver: Resolver;
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
    this.attached = new ReferencePositions(db, components.applier);
    this.#resolver = new Resolver({
      ...components,
      ...{ ofChild: this.#ofChild, ofParent: this.#ofParent, attached: this.attached },
      ...{ ordered: this.#ordered, resolves: this.#resolves, deleted: this.#deleted },
    });
  }

  get #resolves(): boolean {
    return this.#ordered && this.#components.settings.foreignKeys === "resolve";
  }

  /** A row was written; `anew`: by an insert. `last`: its last write before; `base`: what the writer had seen. */
  wrote(
    shape: TableShape,
    keyId: KeyId,
    old: Image | null,
    image: Image | null,
    anew: boolean,
    last: LastWrite | null,
    base: PositionVector | undefined,
    context: ChangesetContext,
  ): void {
    const asChild = this.#ofChild.get(shape.id);
    const asParent = this.#ofParent.get(shape.id);
    if (asChild !== undefined) this.#wroteChild(asChild, shape, keyId, old, image, anew, last, base, context);
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
    anew: boolean,
    last: LastWrite | null,
    base: PositionVector | undefined,
    context: ChangesetContext,
  ): void {
    const { losersChildren, applier } = this.#components;
    for (const via of keys) {
      const { number, parent } = via.key;
      const values = image === null ? null : via.valuesOf(image);
      const before = old === null ? null : via.valuesOf(old);
      if (image !== null && old !== null && !anew && via.same(values, before)) {
        // The reference is older than this write.
        if (values !== null) this.attached.keep(shape.id, keyId, number, last, context);
        continue;
      }
      if (old !== null) {
        losersChildren.forget(shape.id, keyId);
        this.attached.forget(shape.id, keyId, number);
        this.#components.danglingReferences.forget(shape.id, keyId, number);
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

  /** The parent that the writer meant lost its key to another row meanwhile: its own, or one that it had seen. */
  #noteStray(
    shape: TableShape,
    keyId: KeyId,
    via: CheckedForeignKey,
    parentKey: KeyId,
    base: PositionVector | undefined,
    context: ChangesetContext,
  ): void {
    if (!this.#ordered) return;
    const seen = (shard: number, index: number): boolean => index <= (base?.[shard] ?? 0);
    for (const conflict of this.#components.journal.replacedIn(via.key.parent.id)) {
      const { shard, index, losingOrigin, losingPosition: loser } = conflict;
      if (conflict.keyId !== parentKey || seen(shard, index)) continue;
      if (losingOrigin === context.origin || (loser !== null && seen(loser.shard, loser.index)))
        this.#components.losersChildren.note(shape.id, keyId, conflict);
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
    const { danglingReferences } = this.#components;
    for (const via of keys) {
      const { child } = via.key;
      const now = image === null ? null : via.referencedBy(image);
      const before = old === null ? null : via.referencedBy(old);
      if (via.same(now, before)) continue;
      if (now !== null && danglingReferences.total > 0)
        for (const key of via.children(now))
          danglingReferences.forget(child.id, keyIdOf(child, key), via.key.number);
      if (before === null) continue;
      for (const childKey of via.children(before)) {
        const written = this.attached.at(via.key, keyIdOf(child, childKey));
        if (!this.#unseen(written, base, context)) continue;
        const values = this.#resolver.valuesOf(via, childKey);
        this.#candidates.push({ via, values, childKey, side: "parent", other: written!.origin, before: old });
      }
    }
    if (old !== null && image === null && this.#resolves && this.#deleted.size < DELETED_KEPT)
      this.#deleted.set(`${shape.id}/${keyId}`, old);
  }

  /** The changeset is in whole: what dangles because of it is kept or resolved. */
  finish(context: ChangesetContext): void {
    if (this.#candidates.length > 0) this.#resolver.run(this.#candidates, context);
    this.#candidates = [];
    this.#deleted.clear();
  }
}
