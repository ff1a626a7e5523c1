/**
 * Compares the current schema of the file with the one that it last reflected: the changes of the application, the part of
 * them that replicates, and whether each write was captured. Reads only.
 */
import { foldName, isSameName } from "../base/names.ts";
import type { DatabaseSync } from "node:sqlite";
import { readCaptured } from "../capture/install.ts";
import { capturedWhole, type UsedIds } from "../capture/recapture.ts";
import { readRemembered, type RememberedSchema } from "../capture/remembered.ts";
import type { TableShape } from "../change/shape.ts";
import type { CapturedTable } from "../rows/change-logs.ts";
import type { CatalogueObject } from "../replica/store/schema-store.ts";
import { readCatalogue } from "../schema/catalogue.ts";
import { type ClassifiedTable, classify, NOT_SELECTED } from "../schema/classify/classify.ts";
import type { Selection } from "../schema/selection.ts";
import type { Recorder, SchemaChange, SchemaState } from "../schema/diff/change.ts";
import { holdsSameIn, rebuiltRecorders } from "../schema/diff/rebuilt-columns.ts";
import { compareCatalogues, readRecorders } from "../schema/diff/diff.ts";
import { columnsOf, followTables, sameSchema } from "../schema/diff/evolve.ts";
import { withoutShadowTables } from "../schema/virtual-tables.ts";
import { dependentObjects } from "../schema/dependent-objects.ts";
import { hintOf, mergedReasons, unwritableTables, withCopy } from "../schema/classify/writable.ts";
import { realTextTables } from "../schema/classify/real-texts.ts";
import type { SqliteVersion } from "../sqlite/versions/sqlite-version.ts";
import { builtElsewhere, isSelected } from "../schema/selection.ts";
import { shapeOf } from "../schema/read-shape.ts";
import { type Query, queryOf } from "../sqlite/query.ts";
import { readTable, rowidAliases, type SchemaObject } from "../sqlite/schema.ts";
import {
  type ApplicationElsewhere,
  formattedElsewhere,
  type HeldTable,
  heldTables,
  type NamedIncomplete,
  unknownElsewhere,
  withHeld,
} from "./tables-held-back.ts";

/** A new table that cannot be replicated: it stays on this node. */
export interface LocalTable {
  readonly name: string;
  readonly reason: string;
  readonly hint: string;
}

export interface AppDbSchema {
  readonly remembered: RememberedSchema;
  readonly captured: readonly CapturedTable[];
  /** Ids of the tables with a log row for each write so far. */
  readonly whole: ReadonlySet<number>;
  /** Names, in lower case, of tables that stay on this node. */
  readonly ignored: ReadonlySet<string>;
  /** The remembered and the current schema without the ignored tables. */
  readonly from: SchemaState;
  readonly now: SchemaState;
  /** The changes that lead from the one to the other. */
  readonly changes: readonly SchemaChange[];
  readonly recorders: readonly Recorder[];
  /** New tables that stay on this node. */
  readonly local: readonly LocalTable[];
  /** Names of new tables whose rows are local on each node. */
  readonly keptByAll: readonly string[];
  /** Tables that are held back. In `from` and `now` they are as remembered. */
  readonly held: readonly HeldTable[];
}

/** `state` without the named tables and the objects that belong to them. */
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

export interface ReadOptions extends Selection {
  /** Names of nodes that have other functions of the application than this one. Absent: none. */
  readonly withOtherFunctions?: readonly string[];
  /** The SQLite that the application writes with; null: unknown. Absent: unknown. */
  readonly application?: SqliteVersion | null;
  /** The same of other nodes. Absent: unknown. */
  readonly applicationsElsewhere?: readonly ApplicationElsewhere[];
  /** Tables of which the replica has no rows. Absent: none. */
  readonly incomplete?: readonly NamedIncomplete[];
}

/** `replica` reads the rows that the file showed before. null: the file has no tables of Marmot. */
export function readAppDbSchema(
  db: DatabaseSync,
  selection: ReadOptions,
  replica: Query = () => [],
  used: UsedIds = () => 0,
): AppDbSchema | null {
  const query = queryOf(db);
  const remembered = readRemembered(db);
  const captured = readCaptured(db);
  if (remembered === null || captured === null) return null;
  const whole = capturedWhole(db, captured, used);
  const catalogue = readCatalogue(query);
  // Before tables are left out: the shadow tables of a virtual table are recognised by it.
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
  const compared = (
    ignored: ReadonlySet<string>,
    held: readonly HeldTable[] = [],
    staying: readonly SchemaObject[] = [],
  ) => {
    const before = { ...remembered.state, objects: withoutShadowTables(remembered.state.objects) };
    const travelling = objects.filter((o) => !staying.includes(o));
    const present = withHeld({ ...catalogue, objects: travelling }, before, held);
    const [from, now] = [without(before, ignored), without(present, ignored)];
    const changes = sameSchema(from, now) ? [] : compareCatalogues(from, now, recorders);
    return { ignored, from, now, changes };
  };
  const first = compared(rejected);
  const { application = null, incomplete = [] } = selection;
  const unwritable = mergedReasons(
    unknownElsewhere(
      objects,
      { before: remembered.state, lineages: followTables(first.from, first.changes) },
      selection.withOtherFunctions ?? [],
    ),
    formattedElsewhere(query, objects, {
      before: remembered.state,
      applications: selection.applicationsElsewhere ?? [],
    }),
    ...withCopy(objects, (copy) => [unwritableTables(copy), realTextTables(query, copy, application)]),
  );
  if (first.changes.length === 0) {
    const findings = { lineages: [], verdicts: new Map(), unwritable, incomplete };
    const held = heldTables(query, remembered, findings);
    return { ...common, ...compared(rejected, held), local: [], keptByAll: [], held };
  }
  const verdicts = new Map(classify(query, selection, application).map((t) => [foldName(t.name), t]));
  const lineages = followTables(first.from, first.changes);
  const created = lineages.flatMap((l) =>
    l.from === null && l.to !== null ? [verdicts.get(foldName(l.to))] : [],
  );
  const staying = created.flatMap((t): ClassifiedTable[] => {
    if (t?.verdict === "refused" || t?.verdict === "skipped") return [t];
    const [why] = t === undefined ? [] : (unwritable.get(foldName(t.name)) ?? []);
    return t === undefined || why === undefined
      ? []
      : [{ ...t, reason: why.reason, fix: hintOf([why]), verdict: "refused" }];
  });
  const ignored = new Set([...rejected, ...staying.map((t) => foldName(t.name))]);
  const held = heldTables(query, remembered, { lineages, verdicts, unwritable, incomplete });
  const dependent = dependentObjects(objects, onlyHere(ignored, objects, replica, selection));
  return {
    ...common,
    ...(staying.length + held.length + dependent.length === 0 ? first : compared(ignored, held, dependent)),
    local: staying
      .filter((t) => t.reason !== NOT_SELECTED)
      .map(({ name, reason, hint, fix }) => ({ name, reason, hint: fix ?? hint })),
    keptByAll: created.flatMap((t) => (t?.verdict === "local" ? [t.name] : [])),
    held,
  };
}

/** Tables of the file, in lower case, that no other node has: what needs them stays here with them. */
function onlyHere(
  ignored: ReadonlySet<string>,
  objects: readonly SchemaObject[],
  replica: Query,
  selection: Selection,
): ReadonlySet<string> {
  const names = objects.flatMap((o) => (o.kind === "table" ? [foldName(o.name)] : []));
  const here = names.filter((name) => ignored.has(name));
  if (here.length === 0) return new Set();
  const rows = replica(`SELECT "kind", "name", "tbl_name", "sql" FROM "__marmot__object"`);
  const catalogue = rows.map(([kind, name, tableName, sql]): SchemaObject => ({
    kind: kind as SchemaObject["kind"],
    name: String(name),
    tableName: String(tableName),
    sql: String(sql),
  }));
  const cluster = new Set(builtElsewhere(catalogue, selection).map((o) => foldName(o.name)));
  return new Set(here.filter((name) => !cluster.has(name)));
}

/** The recorders for the catalogue that follows `from` by `changes`, all of which the file has. */
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

/** The name in the file of a table of the catalogue, and its column names if they differ; null: the file has no such table. */
export type NameInFile = (
  object: CatalogueObject,
) => { readonly name: string; readonly recorded: readonly string[] | null } | null;

/** Names in the file of the tables and columns of the catalogue `onto` of the cluster, after `changes` of the application. */
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

/** The shape of a table of the file; null: the table does not exist, or its rows have no key. */
export function shapeInFile(db: DatabaseSync, name: string, id: number): TableShape | null {
  const table = readTable(queryOf(db), name);
  const isNamed = table.columns.some((c) => c.keyPlace > 0) || rowidAliases(table).length > 0;
  return table.columns.length > 0 && isNamed ? shapeOf(table, id) : null;
}
