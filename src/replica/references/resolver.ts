/**
 * Resolves references that a changeset left dangling: they are kept and journalled, or resolved by the declared action, or
 * the later of the two writes is undone. An application that enforces the key would have had that write fail.
 * Deterministic.
 */
import { encodeImage } from "../../change/codec.ts";
import { keyIdOf, keyIdOfImage, keyOfImage } from "../../change/key.ts";
import type { TableShape } from "../../change/shape.ts";
import type { Image, Value } from "../../change/value.ts";
import type { RowAccess } from "../../rows/row-access.ts";
import type { ChangesetContext, LastWrite } from "../apply/changeset.ts";
import type { ConflictKind } from "../conflicts/journal.ts";
import type { CheckedForeignKey } from "./checked-foreign-key.ts";
import type { Candidate, ResolverComponents } from "./reference-components.ts";

/** Levels of children that a cascade may have. */
const MAX_DEPTH = 32;

/** A row that loses, and the image that wins. */
interface Resolution {
  readonly kind: ConflictKind;
  readonly shape: TableShape;
  readonly losing: { readonly origin: number; readonly at: LastWrite | null; readonly image: Image | null };
  readonly winning: { readonly origin: number; readonly image: Image | null };
}

/** A write by the resolver to a child. */
interface ForcedWrite {
  readonly kind: ConflictKind;
  readonly child: RowAccess;
  readonly before: Image;
  /** null: the row is deleted. */
  readonly image: Image | null;
  /** The origin that removed the parent. */
  readonly deleter: number;
}

/** The origin that removed the parent. */
const deleterOf = ({ side, other }: Candidate, { origin }: ChangesetContext): number =>
  side === "child" ? other : origin;

const encoded = (image: Image | null): Uint8Array | null => (image === null ? null : encodeImage(image));

export class Resolver {
  readonly #components: ResolverComponents;
  #candidates: Candidate[] = [];

  constructor(components: ResolverComponents) {
    this.#components = components;
  }

  run(candidates: readonly Candidate[], context: ChangesetContext): void {
    const { access, referencePositions, resolves } = this.#components;
    this.#candidates = [...candidates];
    // Resolving one may add others.
    for (let i = 0; i < this.#candidates.length; i++) {
      const candidate = this.#candidates[i]!;
      const { via, values, childKey } = candidate;
      const child = access.get(via.key.child.id)!;
      const now = child.get(childKey);
      if (now === null || values === null || !via.same(via.valuesOf(now), values)) continue;
      if (via.hasParent(values)) continue;
      // If the parent's write is undone, only references that this changeset wrote are undone with it.
      const at =
        candidate.side === "undone" ? referencePositions.at(via.key, keyIdOf(via.key.child, childKey)) : null;
      if (at !== null && (at.shard !== context.shard || at.index !== context.index)) continue;
      if (!resolves || !this.#resolve(candidate, child, now, context)) this.#keep(candidate, now, context);
    }
    this.#candidates = [];
  }

  /** The reference's values as stored in the child: a collation may treat other spellings as equal. */
  valuesOf(via: CheckedForeignKey, childKey: readonly Value[]): readonly Value[] | null {
    const row = this.#components.access.get(via.key.child.id)!.get(childKey);
    return row === null ? null : via.valuesOf(row);
  }

  #journal({ kind, shape, losing, winning }: Resolution, key: readonly Value[], at: ChangesetContext): void {
    this.#components.journal.add(at, {
      table: shape.id,
      keyId: keyIdOf(shape, key),
      kind,
      losingOrigin: losing.origin,
      losingPosition: losing.at,
      losingImage: encoded(losing.image),
      winningOrigin: winning.origin,
      winningImage: encoded(winning.image),
    });
  }

  #keep(candidate: Candidate, now: Image, context: ChangesetContext): void {
    const { danglingReferences, keyPositions, ordered } = this.#components;
    const { child: shape, number } = candidate.via.key;
    const keyId = keyIdOf(shape, candidate.childKey);
    if (!danglingReferences.note(shape.id, keyId, number) || !ordered) return;
    const at = keyPositions.last(shape.id, keyId);
    const losing = { origin: at?.origin ?? 0, at, image: now };
    const winning = { origin: deleterOf(candidate, context), image: null };
    this.#journal({ kind: "orphan", shape, losing, winning }, candidate.childKey, context);
  }

  /** False: the declared action is impossible here, so the reference is kept. */
  #resolve(candidate: Candidate, child: RowAccess, now: Image, context: ChangesetContext): boolean {
    const { via, side, before } = candidate;
    const deleter = deleterOf(candidate, context);
    const action = via.key.onDelete;
    if (action === "CASCADE") {
      if (this.#isBlocked(child.shape, now)) return false;
      this.#force({ kind: "cascaded", child, before: now, image: null, deleter }, context);
      return true;
    }
    if ((action === "SET NULL" || action === "SET DEFAULT") && via.replacement !== null) {
      const { columns } = via.key;
      const image = now.map((v, i) => (columns.includes(i) ? via.replacement![columns.indexOf(i)]! : v));
      const values = via.valuesOf(image);
      if ((values === null || via.hasParent(values)) && child.clashes(image).length === 0) {
        const kind = action === "SET NULL" ? "set null" : "set default";
        this.#force({ kind, child, before: now, image, deleter }, context);
        return true;
      }
    }
    // The later of the two writes would have failed where the application enforces the key: it is undone.
    if (side === "parent") return this.#putBack(candidate, context);
    if (side === "order") return false;
    if (before !== null && child.clashes(before).length > 0) return false;
    if (before === null && this.#isBlocked(child.shape, now, { undoes: true })) return false;
    this.#force({ kind: "refused", child, before: now, image: before, deleter }, context);
    return true;
  }

  /** A delete of this row leaves references that no action resolves. `undoes`: references without an action are undone too. */
  #isBlocked(shape: TableShape, image: Image, { depth = 0, undoes = false } = {}): boolean {
    if (depth >= MAX_DEPTH) return true;
    return (this.#components.ofParent.get(shape.id) ?? []).some((via) => {
      const values = via.referencedBy(image);
      const { onDelete, child } = via.key;
      const self = child.id === shape.id ? keyIdOfImage(shape, image) : null;
      const found = values === null ? [] : via.children(values);
      const children = found.filter((key) => keyIdOf(child, key) !== self);
      if (children.length === 0) return false;
      const settable = via.replacement !== null && (onDelete === "SET NULL" || onDelete === "SET DEFAULT");
      if (onDelete !== "CASCADE") return !settable && !undoes;
      const access = this.#components.access.get(child.id)!;
      return children.some((key) => {
        const row = access.get(key);
        return row !== null && this.#isBlocked(child, row, { depth: depth + 1, undoes });
      });
    });
  }

  /** Writes or deletes a child, and adds the references that dangle because of it. */
  #force(write: ForcedWrite, context: ChangesetContext): void {
    const { applier, keyPositions, losersChildren } = this.#components;
    const { kind, child, before, image, deleter } = write;
    const { shape } = child;
    const key = keyOfImage(shape, before);
    const keyId = keyIdOf(shape, key);
    const at = keyPositions.last(shape.id, keyId);
    const after = applier.force(child, key, image, context);
    const losing = { origin: at?.origin ?? 0, at, image: before };
    this.#journal({ kind, shape, losing, winning: { origin: deleter, image: after } }, key, context);
    this.#followParents(shape, { before, after, at }, context);
    if (image === null) losersChildren.forget(shape.id, keyId);
    for (const via of this.#components.ofParent.get(shape.id) ?? []) {
      const values = via.referencedBy(before);
      if (values === null || via.same(values, after === null ? null : via.referencedBy(after))) continue;
      for (const childKey of via.children(values)) {
        const stored = this.valuesOf(via, childKey);
        const side = kind === "refused" ? "undone" : "order";
        this.#candidates.push({ via, values: stored, childKey, side, other: deleter, before: null });
      }
    }
  }

  /** The records of a row's own references, after the resolver wrote it. */
  #followParents(
    shape: TableShape,
    { before, after, at }: { before: Image; after: Image | null; at: LastWrite | null },
    context: ChangesetContext,
  ): void {
    const { danglingReferences, referencePositions } = this.#components;
    const childKey = keyOfImage(shape, before);
    const keyId = keyIdOf(shape, childKey);
    for (const via of this.#components.ofChild.get(shape.id) ?? []) {
      const { number } = via.key;
      const values = after === null ? null : via.valuesOf(after);
      if (after !== null && via.same(via.valuesOf(before), values)) {
        const written = at ?? { shard: context.shard, index: 0, origin: 0 };
        if (values !== null) referencePositions.keep(shape.id, keyId, number, written);
        continue;
      }
      referencePositions.forget(shape.id, keyId, number);
      danglingReferences.forget(shape.id, keyId, number);
      // The new values may refer to a row that this changeset deleted.
      const deleted = values === null || via.hasParent(values) ? undefined : this.#deletedParent(via, values);
      if (values !== null && deleted !== undefined)
        this.#candidates.push({
          ...{ via, values, childKey, side: "parent" },
          ...{ other: at?.origin ?? 0, before: deleted },
        });
    }
  }

  /** The parent with these values, if the changeset deleted it. */
  #deletedParent(via: CheckedForeignKey, values: readonly Value[]): Image | undefined {
    const key = via.parentKeyId(values);
    return key === null ? undefined : this.#components.deleted.get(`${via.key.parent.id}/${key}`);
  }

  /** Undoes the delete of a parent, or the change of its referenced columns; also of the rows that it refers to itself. */
  #putBack({ via, before, other }: Candidate, context: ChangesetContext): boolean {
    const access = this.#components.access.get(via.key.parent.id)!;
    const { shape } = access;
    const image = before!;
    const key = keyOfImage(shape, image);
    if (access.clashes(image).length > 0) return false;
    const now = access.get(key);
    this.#components.applier.force(access, key, image, context);
    const losing = { origin: context.origin, at: context, image: now };
    this.#journal({ kind: "refused", shape, losing, winning: { origin: other, image } }, key, context);
    for (const up of this.#components.ofChild.get(shape.id) ?? []) {
      const values = up.valuesOf(image);
      if (values === null || up.hasParent(values)) continue;
      const deleted = this.#deletedParent(up, values);
      // Without one, the reference dangled before this changeset.
      if (deleted !== undefined)
        this.#putBack({ via: up, values, childKey: key, side: "parent", other, before: deleted }, context);
    }
    return true;
  }
}
