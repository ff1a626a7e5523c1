/**
 * What becomes of references that a changeset left dangling: kept and journalled, or resolved by the declared action, or by
 * undoing the later write, which an application that enforces the key would have seen refused. Deterministic.
 */
import { encodeImage } from "../../change/codec.ts";
import { type KeyId, keyIdOf, keyIdOfImage, keyOfImage } from "../../change/key.ts";
import type { TableShape } from "../../change/shape.ts";
import type { Image, Value } from "../../change/value.ts";
import type { RowAccess } from "../../rows/row-access.ts";
import type { ChangesetContext, LastWrite } from "../apply/row-applier.ts";
import type { ReferencePositions } from "./reference-positions.ts";
import type { CheckedForeignKey } from "./checked-foreign-key.ts";
import type { ForeignKeyComponents } from "./checker.ts";
import type { ConflictKind } from "../conflicts/journal.ts";

/** Origin of what the order itself wrote: nobody's, so every writer that came without knowing it is in conflict with it. */
export const RESOLVED = 0;

/** Levels of children that a cascade looks down. */
const MAX_DEPTH = 32;

/** A reference that may dangle because its two sides did not know of each other. */
export interface Candidate {
  readonly via: CheckedForeignKey;
  /** The reference, as the child spells it; null: it is gone already. */
  readonly values: readonly Value[] | null;
  readonly childKey: readonly Value[];
  /**
   * "child": the changeset wrote the reference; "parent": it took the parent away; "order": a declared action did;
   * "undone": the parent is undone.
   */
  readonly side: "child" | "parent" | "order" | "undone";
  /** Who wrote the other side. */
  readonly other: number;
  /** The child before the changeset, for "child"; the parent before it, for "parent". */
  readonly before: Image | null;
}

export interface ResolverComponents extends Omit<ForeignKeyComponents, "settings"> {
  readonly ofChild: ReadonlyMap<number, readonly CheckedForeignKey[]>;
  readonly ofParent: ReadonlyMap<number, readonly CheckedForeignKey[]>;
  readonly attached: ReferencePositions;
  /** "table/key" ⇒ rows of parent tables that the changeset deleted. */
  readonly deleted: ReadonlyMap<string, Image>;
  /** Child and parent share one order: else references are only counted. */
  readonly ordered: boolean;
  readonly resolves: boolean;
}

export class Resolver {
  readonly #components: ResolverComponents;
  #candidates: Candidate[] = [];

  constructor(components: ResolverComponents) {
    this.#components = components;
  }

  run(candidates: readonly Candidate[], context: ChangesetContext): void {
    const { attached } = this.#components;
    this.#candidates = [...candidates];
    // Resolving one may add others.
    for (let i = 0; i < this.#candidates.length; i++) {
      const candidate = this.#candidates[i]!;
      const { via, values, childKey } = candidate;
      const child = this.#components.access.get(via.key.child.id)!;
      const now = child.get(childKey);
      if (now === null || values === null || !via.same(via.valuesOf(now), values)) continue;
      if (via.hasParent(values)) continue;
      // With a row that is undone go those that this very changeset hung on it, and no others.
      const at = candidate.side === "undone" ? attached.at(via.key, keyIdOf(via.key.child, childKey)) : null;
      if (at !== null && (at.shard !== context.shard || at.index !== context.index)) continue;
      if (!this.#components.resolves || !this.#resolve(candidate, child, now, context))
        this.#keep(candidate, now, context);
    }
    this.#candidates = [];
  }

  /** The reference as the child spells it: a collation may hold for equal what is spelt otherwise. */
  valuesOf(via: CheckedForeignKey, childKey: readonly Value[]): readonly Value[] | null {
    const row = this.#components.access.get(via.key.child.id)!.get(childKey);
    return row === null ? null : via.valuesOf(row);
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
    if (!this.#components.danglingReferences.note(child.id, keyId, number) || !this.#components.ordered)
      return;
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
    if (side === "order") return false;
    const { before } = candidate;
    if (before !== null && child.clashes(before).length > 0) return false;
    if (before === null && this.#blocked(child.shape, now, 0, true)) return false;
    this.#force("refused", child, now, before, deleter, context);
    return true;
  }

  /** Rows that refer to this one would have to be refused, or the cascade would not end. `anything`: of this order they are undone, too. */
  #blocked(shape: TableShape, image: Image, depth: number, anything = false): boolean {
    if (depth >= MAX_DEPTH) return true;
    return (this.#components.ofParent.get(shape.id) ?? []).some((via) => {
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
    const { applier, danglingReferences, losersChildren, attached } = this.#components;
    const { shape } = access;
    const keyId = keyIdOfImage(shape, now);
    const at = applier.last(shape.id, keyId);
    const stands = applier.force(access, keyId, keyOfImage(shape, now), image, RESOLVED, context);
    const lost = { origin: at?.origin ?? 0, at, image: now };
    this.#add(kind, shape, keyId, lost, { origin: deleter, image: stands }, context);
    for (const via of this.#components.ofChild.get(shape.id) ?? []) {
      const { number } = via.key;
      const [before, values] = [now, stands].map((i) => (i === null ? null : via.valuesOf(i)));
      if (stands !== null && via.same(before!, values!)) {
        if (values !== null) attached.keep(shape.id, keyId, number, at, context);
        continue;
      }
      attached.forget(shape.id, keyId, number);
      danglingReferences.forget(shape.id, keyId, number);
      // What stands now may refer to what this very changeset took away.
      const gone = values === null || via.hasParent(values!) ? undefined : this.#goneParent(via, values!);
      if (gone !== undefined)
        this.#candidates.push({
          ...{ via, values: values!, childKey: keyOfImage(shape, now), side: "parent" },
          ...{ other: lost.origin, before: gone },
        });
    }
    if (image === null) losersChildren.forget(shape.id, keyId);
    for (const via of this.#components.ofParent.get(shape.id) ?? []) {
      const values = via.referencedBy(now);
      if (values === null || via.same(values, stands === null ? null : via.referencedBy(stands))) continue;
      for (const childKey of via.children(values)) {
        const spelt = this.valuesOf(via, childKey);
        const side = kind === "refused" ? "undone" : "order";
        this.#candidates.push({ via, values: spelt, childKey, side, other: deleter, before: null });
      }
    }
  }

  /** The parent that these values refer to, if the changeset deleted it. */
  #goneParent(via: CheckedForeignKey, values: readonly Value[]): Image | undefined {
    const key = via.parentKeyId(values);
    return key === null ? undefined : this.#components.deleted.get(`${via.key.parent.id}/${key}`);
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
    for (const up of this.#components.ofChild.get(access.shape.id) ?? []) {
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
