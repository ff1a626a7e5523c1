/** The parts that the reference checker and the resolver share. */
import type { Image, Value } from "../../change/value.ts";
import type { RowAccess } from "../../rows/row-access.ts";
import type { KeyPositions } from "../apply/key-positions.ts";
import type { RowApplier } from "../apply/row-applier.ts";
import type { Journal } from "../conflicts/journal.ts";
import type { CheckedForeignKey } from "./checked-foreign-key.ts";
import type { DanglingReferences } from "./dangling-references.ts";
import type { LosersChildren } from "./losers-children.ts";
import type { ReferencePositions } from "./reference-positions.ts";

export interface ReferenceComponents {
  readonly applier: RowApplier;
  readonly keyPositions: KeyPositions;
  readonly journal: Journal;
  readonly danglingReferences: DanglingReferences;
  readonly losersChildren: LosersChildren;
  readonly access: ReadonlyMap<number, RowAccess>;
}

/** A reference that may dangle because the writes of child and parent are concurrent. */
export interface Candidate {
  readonly via: CheckedForeignKey;
  /** The values of the reference as stored in the child; null: the child has no reference any more. */
  readonly values: readonly Value[] | null;
  readonly childKey: readonly Value[];
  /**
   * The cause. "child": the changeset wrote the reference. "parent": it removed the parent. "order": a declared action
   * removed the parent. "undone": the parent's write was undone.
   */
  readonly side: "child" | "parent" | "order" | "undone";
  /** The writer of the other side. */
  readonly other: number;
  /** The row before the changeset: the child for "child", the parent for "parent". */
  readonly before: Image | null;
}

export interface ResolverComponents extends ReferenceComponents {
  readonly ofChild: ReadonlyMap<number, readonly CheckedForeignKey[]>;
  readonly ofParent: ReadonlyMap<number, readonly CheckedForeignKey[]>;
  readonly referencePositions: ReferencePositions;
  /** "table/key" ⇒ rows of parent tables that the changeset deleted. */
  readonly deleted: ReadonlyMap<string, Image>;
  /** Child and parent share one total order; if not, dangling references are only counted. */
  readonly ordered: boolean;
  readonly resolves: boolean;
}
