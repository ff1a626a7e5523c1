/** What a catalogue becomes under a list of changes, and where its tables and columns went. */
import type { ColumnOrigin, SchemaChange, SchemaState } from "./change.ts";

export interface TableLineage {
  /** Its name before; null: it was created. */
  readonly from: string | null;
  /** Its name now; null: it was dropped. */
  readonly to: string | null;
  /** Stored columns of `to`; empty for a dropped table. */
  readonly columns: readonly ColumnOrigin[];
}

/** Throws `UserError` where a change does not fit the catalogue. */
export function changeCatalogue(state: SchemaState, changes: readonly SchemaChange[]): SchemaState {
  throw new Error(`to come: ${state.objects.length} ${changes.length}`);
}

/** Byte-equal, order included, shadow tables aside. */
export function sameSchema(a: SchemaState, b: SchemaState): boolean {
  throw new Error(`to come: ${a.objects.length} ${b.objects.length}`);
}

/** Tables that changed in name or text, in the order of the older catalogue, created ones last. */
export function followTables(state: SchemaState, changes: readonly SchemaChange[]): TableLineage[] {
  throw new Error(`to come: ${state.objects.length} ${changes.length}`);
}
