/** Merges both sides under common names, without the rejected parts of ours. */
import { foldName } from "../../base/names.ts";
import type { SchemaObject } from "../../sqlite/schema.ts";
import type { RejectedChange, SchemaState } from "../diff/change.ts";
import { tablesOf } from "../diff/diff.ts";
import { columnNames, namesOf, renamingOf, settleNames, type TableNames } from "./common-names.ts";
import { Merger } from "./merge-catalogues.ts";
import { REJECTED_PREFIX } from "./merge-table.ts";
import { rejectedChange, rejectedName, rejectedObject, rejectedTable, tableOf } from "./rejected-changes.ts";
import { type Renaming, renamedState } from "./renamed-state.ts";
import { lineageOf, type RejectedParts, type Sides } from "./sides.ts";

export interface Merged {
  readonly state: SchemaState;
  readonly names: readonly TableNames[];
  /** Base, ours and theirs in common names. */
  readonly base: SchemaState;
  readonly ours: SchemaState;
  readonly theirs: SchemaState;
  readonly rejected: RejectedChange[];
}

export function mergeSides(sides: Sides, parts: RejectedParts): Merged {
  const rejected: RejectedChange[] = [];
  const names = namesOnBothSides(sides, parts.tables);
  const effective = effectiveState(sides, parts.tables);
  for (const name of settleNames(names, sides.onto, effective)) rejected.push(rejectedName(sides, name));
  for (const [table, reason] of parts.tables) rejected.push(...rejectedTable(sides, table, reason));
  for (const name of nameTakers(sides, parts.tables)) {
    const reason = "another table has that name again";
    rejected.push(rejectedObject(sides, { kind: "table", name, reason, column: null }, []));
  }
  const droppedBy = (side: "theirs" | "ours", named: "base" | "theirs" | "ours"): Set<string> =>
    new Set(names.flatMap((n) => (n[side] === null && n[named] !== null ? [foldName(n[named])] : [])));
  const known = names.filter((n) => n.theirs !== null && n.ours !== null);
  const base = renamedState(
    without(sides.base, new Set([...droppedBy("theirs", "base"), ...droppedBy("ours", "base")])),
    renamingOf(known, "base"),
  );
  const theirs = renamedState(without(sides.onto, droppedBy("ours", "theirs")), renamingOf(known, "theirs"));
  rejected.push(...changesOfDroppedTables(sides, names));
  const mine = without(effective, droppedBy("theirs", "ours"));
  const ours = renamedState(mine, setAside(sides, mine, known, rejected));
  const state = new Merger({ base, ours, theirs, rejected: parts.objects }, (object) =>
    rejected.push(rejectedObject(sides, object, known)),
  ).merge();
  return { state, names, base, ours, theirs, rejected };
}

/** `rejected`: tables of the base whose changes are ignored. */
export function namesOnBothSides(sides: Sides, rejected: ReadonlyMap<string, string>): TableNames[] {
  const { base, onto, theirLineages, lineages } = sides;
  const kept = lineages.filter((l) => l.from === null || !rejected.has(foldName(l.from)));
  return namesOf(
    base,
    { state: onto, lineages: theirLineages },
    { state: effectiveState(sides, rejected), lineages: kept },
  );
}

const without = (state: SchemaState, tables: ReadonlySet<string>): SchemaState => ({
  ...state,
  objects: state.objects.filter((o) => o.kind === "view" || !tables.has(foldName(o.tableName))),
});

/** The app database's schema, as if we had not changed the rejected tables. */
function effectiveState(sides: Sides, rejected: ReadonlyMap<string, string>): SchemaState {
  const { base, appDb } = sides;
  const restored = new Map<string, SchemaObject>();
  const missing: SchemaObject[] = [];
  for (const table of rejected.keys()) {
    const old = tablesOf(base).get(table)!;
    const to = lineageOf(sides, table)?.to;
    if (to === null) missing.push(...base.objects.filter((o) => foldName(o.tableName) === table));
    else restored.set(foldName(to ?? old.name), old);
  }
  const { objects } = without(appDb, new Set(nameTakers(sides, rejected).map(foldName)));
  const effective = objects.map((object): SchemaObject => {
    const old = object.kind === "view" ? undefined : restored.get(foldName(object.tableName));
    if (old === undefined) return object;
    return object.kind === "table" ? old : { ...object, tableName: old.name };
  });
  return { ...appDb, objects: [...missing, ...effective] };
}

/** Tables that we created under the names of rejected tables, which get these names back. */
const nameTakers = ({ lineages }: Sides, rejected: ReadonlyMap<string, string>): string[] =>
  lineages.flatMap(({ from, to }) =>
    from === null && to !== null && rejected.has(foldName(to)) ? [to] : [],
  );

/**
 * The renaming of ours. Tables and columns of ours whose names theirs gave to others are rejected, and get a name of which the
 * merger knows that.
 */
function setAside(
  sides: Sides,
  mine: SchemaState,
  names: readonly TableNames[],
  rejected: RejectedChange[],
): Renaming {
  const renaming = renamingOf(names, "ours");
  const tables = new Map(renaming.tables);
  const columns = new Map(renaming.columns);
  const reason = "another node gave it to another object";
  const common = new Set(
    [...renaming.tables].flatMap(([from, to]) => (from === foldName(to) ? [] : [foldName(to)])),
  );
  for (const [key, { name }] of tablesOf(mine))
    if (!renaming.tables.has(key) && common.has(key)) {
      tables.set(key, `${REJECTED_PREFIX}${name}`);
      const why = `the table name ${name} was rejected: ${reason}`;
      rejected.push(rejectedObject(sides, { kind: "table", name, reason: why, column: null }, []));
    }
  for (const { ours, columns: list } of names) {
    const table = tablesOf(mine).get(foldName(ours!));
    const known = new Map(columns.get(foldName(ours!)));
    const taken = new Set(
      list.flatMap((c) => (foldName(c.common) === foldName(c.ours ?? c.base) ? [] : [foldName(c.common)])),
    );
    for (const column of table === undefined ? [] : columnNames(table))
      if (!known.has(foldName(column)) && taken.has(foldName(column))) {
        known.set(foldName(column), `${REJECTED_PREFIX}${column}`);
        rejected.push(rejectedName(sides, { table: ours!, column, reason }));
      }
    columns.set(foldName(ours!), known);
  }
  return { tables, columns };
}

/** Changes of ours of tables that theirs dropped. */
function changesOfDroppedTables(sides: Sides, names: readonly TableNames[]): RejectedChange[] {
  const { lineages, pending, appDb } = sides;
  const ours = new Map(lineages.map((l) => [foldName(l.from ?? ""), l.to] as const));
  const dropped = new Set(
    names.flatMap(({ base, theirs }) => {
      const name = ours.has(foldName(base)) ? ours.get(foldName(base))! : base;
      return theirs === null && name !== null ? [foldName(name)] : [];
    }),
  );
  return pending.flatMap((change) => {
    const table = tableOf(appDb, change);
    if (table === null || !dropped.has(foldName(table))) return [];
    return [rejectedChange(appDb, change, `the table ${table} was dropped on another node`)];
  });
}
