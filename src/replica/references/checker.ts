/**
 * Declared foreign keys under concurrent writes (`--foreign-keys`): finds references that concurrent writes left dangling.
 * A reference that the application itself writes dangling, because it does not enforce foreign keys, is none of them. All
 * results depend on the log alone.
 */
import type { DatabaseSync } from "node:sqlite";
import { type KeyId, keyIdOf, keyOfImage } from "../../change/key.ts";
import type { TableShape } from "../../change/shape.ts";
import type { Image, Value } from "../../change/value.ts";
import type { ForeignKey } from "../../schema/foreign-keys.ts";
import {
  type ChangesetContext,
  covers,
  type ObservedWrite,
  RESOLVER_ORIGIN,
  unseenWrite,
  type WriteObserver,
} from "../apply/changeset.ts";
import type { ReplicaSettings } from "../store/settings.ts";
import { CheckedForeignKey } from "./checked-foreign-key.ts";
import type { Candidate, ReferenceComponents } from "./reference-components.ts";
import { ReferencePositions } from "./reference-positions.ts";
import { Resolver } from "./resolver.ts";

/** Deleted parent rows of a changeset that can be restored. References to further ones are kept dangling. */
const DELETED_KEPT = 10_000;

interface CheckerComponents extends ReferenceComponents {
  readonly settings: Pick<ReplicaSettings, "foreignKeys" | "shards" | "transactions">;
}

export class ReferenceChecker implements WriteObserver {
  readonly referencePositions: ReferencePositions;
  readonly #components: CheckerComponents;
  readonly #ofChild = new Map<number, CheckedForeignKey[]>();
  readonly #ofParent = new Map<number, CheckedForeignKey[]>();
  readonly #resolver: Resolver;
  /** Child and parent rows share one total order. */
  readonly #ordered: boolean;
  readonly #resolves: boolean;
  #candidates: Candidate[] = [];
  /** "table/key" ⇒ rows of parent tables that the changeset deleted. */
  readonly #deleted = new Map<string, Image>();

  constructor(db: DatabaseSync, foreignKeys: readonly ForeignKey[], components: CheckerComponents) {
    this.#components = components;
    const { shards, transactions, foreignKeys: mode } = components.settings;
    this.#ordered = shards === 1 || transactions === "whole";
    this.#resolves = this.#ordered && mode === "resolve";
    for (const key of foreignKeys) {
      const checked = new CheckedForeignKey(db, key);
      for (const [map, { id }] of [
        [this.#ofChild, key.child],
        [this.#ofParent, key.parent],
      ] as const)
        map.set(id, [...(map.get(id) ?? []), checked]);
    }
    this.referencePositions = new ReferencePositions(db, components.keyPositions);
    this.#resolver = new Resolver({
      ...components,
      ...{ ofChild: this.#ofChild, ofParent: this.#ofParent, referencePositions: this.referencePositions },
      ...{ ordered: this.#ordered, resolves: this.#resolves, deleted: this.#deleted },
    });
  }

  concerns({ id }: TableShape): boolean {
    return this.#ofChild.has(id) || this.#ofParent.has(id);
  }

  refersToItself({ id }: TableShape): boolean {
    return this.#ofChild.get(id)?.some((via) => via.key.parent.id === id) ?? false;
  }

  wrote(write: ObservedWrite): void {
    for (const via of this.#ofChild.get(write.shape.id) ?? []) this.#wroteChild(via, write);
    const asParent = this.#ofParent.get(write.shape.id);
    if (asParent === undefined) return;
    for (const via of asParent) this.#wroteParent(via, write);
    const { shape, keyId, before, after } = write;
    if (before !== null && after === null && this.#resolves && this.#deleted.size < DELETED_KEPT)
      this.#deleted.set(`${shape.id}/${keyId}`, before);
  }

  /** A row was written that may refer to a parent by `via`. */
  #wroteChild(via: CheckedForeignKey, write: ObservedWrite): void {
    const { shape, keyId, before, after, isInsert, last, context } = write;
    const { danglingReferences, losersChildren } = this.#components;
    const { number } = via.key;
    const values = after === null ? null : via.valuesOf(after);
    const oldValues = before === null ? null : via.valuesOf(before);
    if (after !== null && before !== null && !isInsert && via.same(values, oldValues)) {
      // This write did not change the reference.
      const written = last ?? { shard: context.shard, index: 0, origin: 0 };
      if (values !== null) this.referencePositions.keep(shape.id, keyId, number, written);
      return;
    }
    if (before !== null) {
      losersChildren.forget(shape.id, keyId);
      this.referencePositions.forget(shape.id, keyId, number);
      danglingReferences.forget(shape.id, keyId, number);
    }
    if (values !== null && after !== null) this.#checkParent(via, write, values, after);
  }

  /** The written row `after` refers by `values`: to no row, or perhaps to another one than its writer meant? */
  #checkParent(via: CheckedForeignKey, write: ObservedWrite, values: readonly Value[], after: Image): void {
    const { shape, before, last, base, context } = write;
    const { parent } = via.key;
    const present = via.hasParent(values);
    if (present && !this.#components.journal.hasReplaced(parent.id)) return;
    const parentKey = via.parentKeyId(values);
    if (parentKey === null) return;
    const parentLast = this.#components.keyPositions.last(parent.id, parentKey);
    // Or the resolver wrote this row, unseen by the writer, who writes the reference again.
    const isUndone = last?.origin === RESOLVER_ORIGIN && unseenWrite(last, base, context) !== null;
    if (unseenWrite(parentLast, base, context) === null && !(isUndone && !present)) return;
    if (present) this.#noteLosersChild(via, parentKey, write);
    else
      this.#candidates.push({
        via,
        values,
        childKey: keyOfImage(shape, after),
        side: "child",
        other: parentLast?.origin ?? RESOLVER_ORIGIN,
        before,
      });
  }

  /** The parent that the writer meant, its own or one that it had seen, has lost its key to another row. */
  #noteLosersChild(
    via: CheckedForeignKey,
    parentKey: KeyId,
    { shape, keyId, base, context }: ObservedWrite,
  ): void {
    if (!this.#ordered) return;
    for (const conflict of this.#components.journal.replacedIn(via.key.parent.id)) {
      const { losingOrigin, losingPosition } = conflict;
      if (conflict.keyId !== parentKey || covers(base, conflict)) continue;
      if (losingOrigin === context.origin || (losingPosition !== null && covers(base, losingPosition)))
        this.#components.losersChildren.note(shape.id, keyId, conflict);
    }
  }

  /** A row was written that rows may refer to by `via`. */
  #wroteParent(via: CheckedForeignKey, { before, after, base, context }: ObservedWrite): void {
    const { danglingReferences } = this.#components;
    const { child } = via.key;
    const now = after === null ? null : via.referencedBy(after);
    const old = before === null ? null : via.referencedBy(before);
    if (via.same(now, old)) return;
    if (now !== null && danglingReferences.total > 0)
      for (const key of via.children(now))
        danglingReferences.forget(child.id, keyIdOf(child, key), via.key.number);
    if (old === null) return;
    for (const childKey of via.children(old)) {
      const written = this.referencePositions.at(via.key, keyIdOf(child, childKey));
      const unseen = unseenWrite(written, base, context);
      if (unseen === null) continue;
      const values = this.#resolver.valuesOf(via, childKey);
      this.#candidates.push({ via, values, childKey, side: "parent", other: unseen.origin, before });
    }
  }

  /** The changeset is applied: references that dangle because of it are kept or resolved. */
  finish(context: ChangesetContext): void {
    if (this.#candidates.length > 0) this.#resolver.run(this.#candidates, context);
    this.#candidates = [];
    this.#deleted.clear();
  }
}
