/**
 * The application's schema as it is, against the one that the file last reflected: what the application changed, what of it
 * travels, and whether every write was captured. Reads only.
 */
import { foldName, isSameName } from "../base/names.ts";
import type { DatabaseSync } from "node:sqlite";
import { type CapturedTable, readCaptured } from "../capture/install.ts";
import { capturedWhole } from "../capture/recapture.ts";
import { readRemembered, type RememberedSchema } from "../capture/remembered.ts";
import type { TableShape } from "../change/shape.ts";
import type { CatalogueObject } from "../replica/store/schema-store.ts";
import { readCatalogue } from "../schema/catalogue.ts";
import { type ClassifiedTable, classify, NOT_SELECTED, type Selection } from "../schema/classify/classify.ts";
import type { Recorder, SchemaChange, SchemaState } from "../schema/diff/change.ts";
import { holdsSameIn, rebuiltRecorders } from "../schema/diff/rebuilt-columns.ts";
import { compareCatalogues, readRecorders } from "../schema/diff/diff.ts";
import { columnsOf, followTables, sameSchema, type TableLineage } from "../schema/diff/evolve.ts";
import { withoutShadowTables } from "../schema/virtual-tables.ts";
import { type Unwritable, unwritableTables, withCopy } from "../schema/classify/writable.ts";
import { renamedText } from "../schema/diff/alter-plan.ts";
import { shapeOf } from "../schema/read-shape.ts";
import { isSelected } from "../schema/selection.ts";
import { createObject, withScratch } from "../schema/scratch.ts";
import { type Query, queryOf } from "../sqlite/query.ts";
import {
  keyCollations,
  keyColumns,
  readTable,
  rowidAliases,
  type SchemaObject,
  type Table,
} from "../sqlite/schema.ts";

/** A new table that cannot be replicated: it stays on this node. */
export interface LocalTable {
  readonly name: string;
  readonly reason: string;
  readonly hint: string;
}

/**
 * A table that replicates and that this node cannot write as the application changed it. Its rows of other nodes wait, and its
 * changed schema stays on this node. `name`: in the file.
 */
export interface HeldTable extends LocalTable {
  readonly id: number;
  /** Its name in the schema that the file remembers. */
  readonly remembered: string;
  /** Its rows are still identified and stored as the cluster has them, so those of this node travel. */
  readonly sends: boolean;
}

export interface AppDbSchema {
  readonly remembered: RememberedSchema;
  readonly captured: readonly CapturedTable[];
  /** Ids of tables of which every write up to now is in a log. */
  readonly whole: ReadonlySet<number>;
  /** Names, in lower case, that are nobody else's business. */
  readonly ignored: ReadonlySet<string>;
  /** What was remembered and what there is, without what is ignored. */
  readonly from: SchemaState;
  readonly now: SchemaState;
  /** What led from one to the other. */
  readonly changes: readonly SchemaChange[];
  readonly recorders: readonly Recorder[];
  /** Tables that came and stay here. */
  readonly local: readonly LocalTable[];
  /** Tables that the changes create and every node keeps for itself. */
  readonly keptByAll: readonly string[];
  /** Tables that are held back. In `from` and `now` they are as remembered. */
  readonly held: readonly HeldTable[];
}

/** Without the tables named and all that stands on them. */
export function without(state: SchemaState, names: ReadonlySet<string>): SchemaState {
  const { objects, userVersion, applicationId } = state;
  return {
    objects: names.size === 0 ? objects : objects.filter((o) => !names.has(foldName(o.tableName))),
    userVersion,
    applicationId,
  };
}

const tableNames = (state: SchemaState): string[] =>
  state.objects.flatMap((o) => (o.kind === "table" ? [o.name] : []));

/** In a transaction, or alone. `replica` reads what the file showed before. null: nothing of Marmot is in the file. */
export function readAppDbSchema(
  db: DatabaseSync,
  selection: Selection,
  replica: Query = () => [],
): AppDbSchema | null {
  const query = queryOf(db);
  const remembered = readRemembered(db);
  const captured = readCaptured(db);
  if (remembered === null || captured === null) return null;
  const whole = capturedWhole(db, captured);
  const catalogue = readCatalogue(query);
  // Before anything is left out: what belongs to a virtual table is known by it.
  const objects = withoutShadowTables(catalogue.objects);
  const chosen = isSelected(selection);
  const rejected = new Set(
    [...tableNames(remembered.state), ...tableNames(catalogue)].filter((name) => !chosen(name)).map(foldName),
  );
  const names = new Map([...remembered.tables].map(([name, id]) => [id, name]));
  const left = readRecorders(query, names);
  const recorders = sameSchema(remembered.state, catalogue)
    ? left
    : [...left, ...rebuiltRecorders(remembered.state, catalogue, left, holdsSameIn(query, replica))];
  const common = { remembered, captured, whole, recorders };
  const compared = (ignored: ReadonlySet<string>, held: readonly HeldTable[] = []) => {
    const before = { ...remembered.state, objects: withoutShadowTables(remembered.state.objects) };
    const present = withHeld({ ...catalogue, objects }, before, held);
    const [from, now] = [without(before, ignored), without(present, ignored)];
    const changes = sameSchema(from, now) ? [] : compareCatalogues(from, now, recorders);
    return { ignored, from, now, changes };
  };
  const first = compared(rejected);
  if (first.changes.length === 0) {
    const held = heldTables(query, remembered, [], new Map(), unwritable(objects));
    return { ...common, ...compared(rejected, held), local: [], keptByAll: [], held };
  }
  const verdicts = new Map(classify(query, selection).map((t) => [foldName(t.name), t]));
  const lineages = followTables(first.from, first.changes);
  const created = lineages.flatMap((l) =>
    l.from === null && l.to !== null ? [verdicts.get(foldName(l.to))] : [],
  );
  const staying = created.filter(
    (t): t is ClassifiedTable => t?.verdict === "refused" || t?.verdict === "skipped",
  );
  const ignored = new Set([...rejected, ...staying.map((t) => foldName(t.name))]);
  const held = heldTables(query, remembered, lineages, verdicts, unwritable(objects));
  return {
    ...common,
    ...(staying.length + held.length === 0 ? first : compared(ignored, held)),
    local: staying
      .filter((t) => t.reason !== NOT_SELECTED)
      .map(({ name, reason, hint, fix }) => ({ name, reason, hint: fix ?? hint })),
    keptByAll: created.flatMap((t) => (t?.verdict === "local" ? [t.name] : [])),
    held,
  };
}

const unwritable = (objects: readonly SchemaObject[]): Map<string, readonly Unwritable[]> =>
  withCopy(objects, unwritableTables);

/** `state` with the held tables, and the objects on them, as they were `before`. */
export function withHeld<T extends SchemaState>(
  state: T,
  before: SchemaState,
  held: readonly HeldTable[],
): T {
  if (held.length === 0) return state;
  const [now, then] = [
    new Set(held.map((t) => foldName(t.name))),
    new Set(held.map((t) => foldName(t.remembered))),
  ];
  const isKept = (o: SchemaObject): boolean => o.kind === "view" || !now.has(foldName(o.tableName));
  const kept = new Map(state.objects.filter(isKept).map((o) => [`${o.kind} ${o.name}`, o]));
  const objects: SchemaObject[] = [];
  // In the former order: one that changed is no change of its own here.
  for (const object of before.objects) {
    const key = `${object.kind} ${object.name}`;
    if (object.kind !== "view" && then.has(foldName(object.tableName))) objects.push(object);
    else if (kept.has(key)) objects.push(kept.get(key)!);
    kept.delete(key);
  }
  return { ...state, objects: [...objects, ...kept.values()] };
}

/** Tables that replicate, and that this node cannot write as they are now. */
function heldTables(
  query: Query,
  { tables, state }: RememberedSchema,
  lineages: readonly TableLineage[],
  verdicts: ReadonlyMap<string, ClassifiedTable>,
  unwritable: ReadonlyMap<string, readonly Unwritable[]>,
): HeldTable[] {
  return [...tables].flatMap(([remembered, id]): HeldTable[] => {
    const lineage = lineages.find((l) => isSameName(l.from, remembered));
    const name = lineage === undefined ? remembered : lineage.to;
    if (name === null) return [];
    const verdict = verdicts.get(foldName(name));
    const why = unwritable.get(foldName(name)) ?? [];
    if (verdict?.verdict !== "refused" && why.length === 0) return [];
    const old = state.objects.find((o) => o.kind === "table" && isSameName(o.name, remembered));
    const sends = old !== undefined && isStoredAlike(old.sql, readTable(query, name));
    return [
      {
        ...{ name, id, remembered, sends },
        reason: verdict?.reason ?? why.map((u) => u.reason).join("; "),
        hint: verdict?.fix ?? [...new Set(why.map((u) => u.hint))].join("; "),
      },
    ];
  });
}

/** Rows of the table have the key and the columns that they had under its older text. */
function isStoredAlike(before: string, now: Table): boolean {
  const stored = new Set(now.columns.flatMap((c) => (c.hidden === 0 ? [foldName(c.name)] : [])));
  if (!columnsOf({ sql: before }).every((c) => stored.has(foldName(c)))) return false;
  return withScratch((db) => {
    createObject(db, {
      kind: "table",
      name: now.name,
      tableName: now.name,
      sql: renamedText(before, now.name),
    });
    const old = readTable(queryOf(db), now.name);
    const keyOf = (table: Table): string =>
      JSON.stringify([
        keyColumns(table).map((c) => [foldName(c.name), c.affinity]),
        keyCollations(table),
        table.rowidColumn === null,
        table.withoutRowid,
      ]);
    return keyOf(old) === keyOf(now);
  });
}

/** What recorders say of the catalogue that follows `from` by `changes` (of which the file has all). */
export function advanceRecorders(
  recorders: readonly Recorder[],
  from: SchemaState,
  changes: readonly SchemaChange[],
): Recorder[] {
  const lineages = followTables(from, changes);
  return recorders.flatMap((recorder): Recorder[] => {
    const lineage = lineages.find((l) => isSameName(l.from, recorder.table));
    if (lineage === undefined) return [recorder];
    if (lineage.to === null) return [];
    const table = from.objects.find((o) => o.kind === "table" && o.name === lineage.from);
    const before = table === undefined ? [] : columnsOf(table).map(foldName);
    const columns = lineage.columns.map(([column, origin]) =>
      origin === null ? column : (recorder.columns[before.indexOf(foldName(origin))] ?? column),
    );
    return [{ table: lineage.to, now: recorder.now, columns }];
  });
}

/** Of a table of the catalogue: its name in the file, and its columns' if they are called otherwise there; null: it is gone. */
export type NameInFile = (
  object: CatalogueObject,
) => { readonly name: string; readonly recorded: readonly string[] | null } | null;

/** What the file's tables are called, and their columns, of those that the cluster's catalogue `onto` has under `changes`. */
export function namesInFile(onto: SchemaState, changes: readonly SchemaChange[]): NameInFile {
  const lineages = changes.length === 0 ? [] : followTables(onto, changes);
  return (object) => {
    const lineage = lineages.find((l) => isSameName(l.from, object.name));
    if (lineage === undefined) return { name: object.name, recorded: null };
    if (lineage.to === null) return null;
    const now = new Map(lineage.columns.flatMap(([c, from]) => (from === null ? [] : [[foldName(from), c]])));
    const taken = new Set(lineage.columns.map(([c]) => foldName(c)));
    const recorded = columnsOf(object).map(
      (c, i) => now.get(foldName(c)) ?? (taken.has(foldName(c)) ? `__marmot__gone_${i}` : c),
    );
    return { name: lineage.to, recorded };
  };
}

/** The shape of a table of the file; null: there is none, or nothing names its rows. */
export function shapeInFile(db: DatabaseSync, name: string, id: number): TableShape | null {
  const table = readTable(queryOf(db), name);
  const isNamed = table.columns.some((c) => c.keyPlace > 0) || rowidAliases(table).length > 0;
  return table.columns.length > 0 && isNamed ? shapeOf(table, id) : null;
}
