/** Two catalogues compared: what led from one to the other. */
import type { Query } from "../../sqlite/query.ts";
import type { Recorder, SchemaChange, SchemaState } from "./change.ts";

/** `names`: table id ⇒ the table's name in the older catalogue. Tables whose recorder is gone are left out. */
export function readRecorders(query: Query, names: ReadonlyMap<number, string>): Recorder[] {
  throw new Error(`to come: ${query.length} ${names.size}`);
}

/** In an order in which they can be applied: `changeCatalogue(from, …)` is `to`. */
export function compareCatalogues(
  from: SchemaState,
  to: SchemaState,
  recorders: readonly Recorder[],
): SchemaChange[] {
  throw new Error(`to come: ${from.objects.length} ${to.objects.length} ${recorders.length}`);
}
