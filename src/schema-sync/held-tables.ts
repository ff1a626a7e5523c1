/** Replicated tables that this node cannot write as they are: they are held back, and everything else goes on. */
import { foldName, isSameName } from "../base/names.ts";
import type { RememberedSchema } from "../capture/remembered.ts";
import type { ClassifiedTable } from "../schema/classify/classify.ts";
import type { Unwritable } from "../schema/classify/writable.ts";
import { renamedText } from "../schema/diff/alter-plan.ts";
import type { SchemaState } from "../schema/diff/change.ts";
import { columnsOf, type TableLineage } from "../schema/diff/evolve.ts";
import { createObject, withScratch } from "../schema/scratch.ts";
import { type Query, queryOf } from "../sqlite/query.ts";
import { keyCollations, keyColumns, readTable, type SchemaObject, type Table } from "../sqlite/schema.ts";

/** Its rows of other nodes wait, and its changed schema stays on this node. */
export interface HeldTable {
  readonly id: number;
  /** In the file. */
  readonly name: string;
  /** In the schema that the file remembers. */
  readonly remembered: string;
  readonly reason: string;
  readonly hint: string;
  /** Its rows still have the key and the columns of the cluster's table, so those of this node travel. */
  readonly sends: boolean;
}

interface TableFindings {
  readonly lineages: readonly TableLineage[];
  /** By folded name. */
  readonly verdicts: ReadonlyMap<string, ClassifiedTable>;
  readonly unwritable: ReadonlyMap<string, readonly Unwritable[]>;
}

/** `query` reads the file. */
export function heldTables(
  query: Query,
  { tables, state }: RememberedSchema,
  { lineages, verdicts, unwritable }: TableFindings,
): HeldTable[] {
  return [...tables].flatMap(([remembered, id]): HeldTable[] => {
    const lineage = lineages.find((l) => isSameName(l.from, remembered));
    const name = lineage === undefined ? remembered : lineage.to;
    if (name === null) return [];
    const verdict = verdicts.get(foldName(name));
    const why = unwritable.get(foldName(name)) ?? [];
    const isRefused = verdict?.verdict === "refused";
    if (!isRefused && why.length === 0) return [];
    const old = state.objects.find((o) => o.kind === "table" && isSameName(o.name, remembered));
    return [
      {
        ...{ id, name, remembered },
        reason: isRefused ? verdict.reason : why.map((u) => u.reason).join("; "),
        hint: isRefused ? (verdict.fix ?? verdict.hint) : [...new Set(why.map((u) => u.hint))].join("; "),
        sends: old !== undefined && isStoredAlike(old.sql, readTable(query, name)),
      },
    ];
  });
}

/** The table has the key that it had under its older text, and all of its columns. */
function isStoredAlike(before: string, now: Table): boolean {
  const stored = new Set(now.columns.flatMap((c) => (c.hidden === 0 ? [foldName(c.name)] : [])));
  if (!columnsOf({ sql: before }).every((c) => stored.has(foldName(c)))) return false;
  return withScratch((db) => {
    const { name } = now;
    createObject(db, { kind: "table", name, tableName: name, sql: renamedText(before, name) });
    return keyText(readTable(queryOf(db), name)) === keyText(now);
  });
}

const keyText = (table: Table): string =>
  JSON.stringify([
    keyColumns(table).map((c) => [foldName(c.name), c.affinity]),
    keyCollations(table),
    table.rowidColumn === null,
    table.withoutRowid,
  ]);

/** `state` with the held tables, and the objects on them, as they were `before`. */
export function withHeld<T extends SchemaState>(
  state: T,
  before: SchemaState,
  held: readonly HeldTable[],
): T {
  if (held.length === 0) return state;
  const now = new Set(held.map((t) => foldName(t.name)));
  const then = new Set(held.map((t) => foldName(t.remembered)));
  const isKept = (o: SchemaObject): boolean => o.kind === "view" || !now.has(foldName(o.tableName));
  const kept = new Map(state.objects.filter(isKept).map((o) => [`${o.kind} ${o.name}`, o]));
  const objects: SchemaObject[] = [];
  // In the former order: a changed order alone is no change.
  for (const object of before.objects) {
    const key = `${object.kind} ${object.name}`;
    if (object.kind !== "view" && then.has(foldName(object.tableName))) objects.push(object);
    else if (kept.has(key)) objects.push(kept.get(key)!);
    kept.delete(key);
  }
  return { ...state, objects: [...objects, ...kept.values()] };
}
