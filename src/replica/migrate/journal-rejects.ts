/** Rows that a schema change rejects, in the replica or in the app database of the node that made it, go into the journal. */
import { foldName } from "../../base/names.ts";
import { encodeImage } from "../../change/codec.ts";
import { type KeyId, keyIdOf, keyIdOfImage } from "../../change/key.ts";
import type { TableShape } from "../../change/shape.ts";
import type { Value } from "../../change/value.ts";
import type { RejectedRow } from "../../schema/diff/change.ts";
import type { RejectsOfTable } from "../../schema/diff/schema-entry.ts";
import { UNKNOWN_IMAGE } from "../apply/before-images.ts";
import { unseenWrite } from "../apply/changeset.ts";
import type { MigrationComponents } from "./migration-components.ts";

/** The key of a rejected row. */
export interface RejectedKey {
  /** The table's id before the change. */
  readonly table: number;
  readonly key: readonly Value[];
}

/** Journals rows of the origin's app database that were rejected there before any other node had them. */
export function journalLocalRejects(
  { table, columns, reason, rows }: RejectsOfTable,
  { journal, context }: MigrationComponents,
): void {
  rows.forEach((row, i) =>
    journal.add(context, {
      table: 0,
      keyId: i,
      kind: "schema clash",
      losingOrigin: context.origin,
      losingPosition: null,
      losingImage: new Uint8Array(Buffer.from(row, "base64")),
      winningOrigin: 0,
      winningImage: null,
      note: { table, columns, reason },
    }),
  );
}

/**
 * The writes that the origin of a schema change had seen. Its app database satisfies the new constraints. So if it had
 * seen all rows that clash, its application has deleted or changed one of them itself, and no row is lost.
 */
export class SeenRows {
  readonly #components: MigrationComponents;
  readonly #tables = new Map<number, boolean>();

  constructor(components: MigrationComponents) {
    this.#components = components;
  }

  row(shape: TableShape, keyId: KeyId): boolean {
    const { keyPositions, context } = this.#components;
    return unseenWrite(keyPositions.last(shape.id, keyId), context.bases[0], context) === null;
  }

  /** The origin had seen every write to the table. */
  table(shape: TableShape): boolean {
    const { keyPositions, context } = this.#components;
    let seen = this.#tables.get(shape.id);
    if (seen === undefined) {
      seen = keyPositions
        .newest(shape.id)
        .every((last) => unseenWrite(last, context.bases[0], context) === null);
      this.#tables.set(shape.id, seen);
    }
    return seen;
  }

  /** The origin had seen the rejected row and the row that it clashes with. */
  isOriginsOwn(shape: TableShape, keyId: KeyId, { gaveWayTo }: RejectedRow): boolean {
    if (this.#components.context.bases.length === 0) return false;
    if (gaveWayTo === "unknown") return this.table(shape);
    return this.row(shape, keyId) && (gaveWayTo === null || this.row(shape, keyIdOf(shape, gaveWayTo)));
  }
}

/** `shape`: the table before the change. */
export function rejectedImage(shape: TableShape, { columns, values, rowid }: RejectedRow): Value[] {
  const value = new Map(columns.map((c, i) => [foldName(c), values[i]!]));
  return shape.columns.map((c, i) =>
    shape.rowidKey && i === 0 ? rowid : (value.get(foldName(c.name)) ?? null),
  );
}

/** Journals a row of the replica that the schema change rejected, and records its delete. */
export function journalReject(
  shape: TableShape,
  row: RejectedRow,
  seen: SeenRows,
  components: MigrationComponents,
): RejectedKey {
  const { context, keyPositions, journal, beforeImages, changed } = components;
  const image = rejectedImage(shape, row);
  const keyId = keyIdOfImage(shape, image);
  const last = keyPositions.last(shape.id, keyId);
  const bytes = encodeImage(image);
  if (!seen.isOriginsOwn(shape, keyId, row))
    journal.addUniqueClash(context, { table: shape.id, keyId, last, image: bytes, winningImage: null });
  keyPositions.set(shape.id, keyId, context);
  // At the origin, an unknown image makes the drain send the row in any case: present or deleted, its file decides.
  beforeImages.add(shape.id, keyId, context, context.own ? UNKNOWN_IMAGE : bytes);
  const key = shape.key.map((k) => image[k]!);
  changed.set(shape.id, keyId, { key, image: null });
  return { table: shape.id, key };
}
