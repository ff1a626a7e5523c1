/** Maps the tables and columns of either side to those of the merged schema. */
import { foldName } from "../../base/names.ts";
import type { SchemaObject } from "../../sqlite/schema.ts";
import { isVirtual } from "../virtual-tables.ts";
import type { ColumnOrigin, SchemaState } from "../diff/change.ts";
import type { TableNames } from "./common-names.ts";
import { type TableTarget, tablesOf } from "../diff/diff.ts";
import { columnsOf, type TableLineage } from "../diff/evolve.ts";
import type { Sides } from "./sides.ts";
import { extendsTable } from "./merge-table.ts";
import { type ColumnText, parseTable } from "../../sqlite/ddl-text/table-text.ts";

const isSameKind = (a: SchemaObject, b: SchemaObject): boolean =>
  isVirtual(a) === isVirtual(b) && (!isVirtual(a) || a.sql === b.sql);

/** For the tables of the cluster. */
export function ontoTargets(
  onto: SchemaState,
  names: readonly TableNames[],
  target: SchemaState,
): Map<string, TableTarget> {
  const targets = new Map<string, TableTarget>();
  const byTheirs = new Map(
    names.flatMap((n) => (n.theirs === null ? [] : [[foldName(n.theirs), n] as const])),
  );
  const after = tablesOf(target);
  for (const [name, table] of tablesOf(onto)) {
    const known = byTheirs.get(name);
    if (known !== undefined && known.ours === null) continue;
    const to = after.get(foldName(known?.common ?? table.name));
    if (to === undefined || !isSameKind(table, to)) continue;
    const there = new Map(columnsOf(table).map((c) => [foldName(c), c]));
    const own = new Set(known?.columns.flatMap((c) => (c.theirs === null ? [] : [foldName(c.theirs)])));
    const columns = columnsOf(to).map((column): ColumnOrigin => {
      const from = known?.columns.find((c) => c.theirs !== null && foldName(c.common) === foldName(column));
      if (from !== undefined) return [column, there.get(foldName(from.theirs!)) ?? null];
      return [column, own.has(foldName(column)) ? null : (there.get(foldName(column)) ?? null)];
    });
    targets.set(name, { to: to.name, columns });
  }
  return targets;
}

/** For the tables of the app database. `ours`: its schema in common names; null: all our changes are rejected. */
export function appDbTargets(
  { appDb, lineages }: Sides,
  merged: {
    readonly names: readonly TableNames[];
    readonly target: SchemaState;
    readonly ours: SchemaState | null;
  },
): Map<string, TableTarget> {
  const { names, target, ours } = merged;
  const targets = new Map<string, TableTarget>();
  const after = tablesOf(target);
  const mine = ours === null ? null : tablesOf(ours);
  const taken = new Set<string>();
  const byName = new Map(lineages.flatMap((l) => (l.to === null ? [] : [[foldName(l.to), l] as const])));
  for (const [name, table] of tablesOf(appDb)) {
    const lineage = byName.get(name);
    const base = lineage === undefined ? table.name : lineage.from;
    const known = base === null ? undefined : names.find((n) => foldName(n.base) === foldName(base));
    if (known !== undefined && known.theirs === null) continue;
    const to = after.get(foldName(known?.common ?? table.name));
    if (to === undefined || !isSameKind(table, to) || taken.has(foldName(to.name))) continue;
    if (known === undefined && !extendsTable(to.sql, table.sql)) {
      // Created on both sides: its rows are ours only if the merged table equals or extends our table.
      const our = mine?.get(foldName(to.name));
      if (our === undefined || !extendsTable(to.sql, our.sql)) continue;
    }
    taken.add(foldName(to.name));
    const our = mine?.get(foldName(to.name));
    const columns = appDbColumns({ table, to, lineage, known, our });
    targets.set(name, { to: to.name, columns });
  }
  return targets;
}

interface OurTable {
  readonly table: SchemaObject;
  readonly to: SchemaObject;
  readonly lineage: TableLineage | undefined;
  /** undefined: the base does not have the table. */
  readonly known: TableNames | undefined;
  /** The table in common names. */
  readonly our: SchemaObject | undefined;
}

function appDbColumns({ table, to, lineage, known, our }: OurTable): ColumnOrigin[] {
  const mine = columnsOf(table);
  if (known === undefined)
    return columnsOf(to).map((column) => [
      column,
      mine.find((c) => foldName(c) === foldName(column)) ?? null,
    ]);
  const fromBase = new Map(
    (lineage?.columns ?? mine.map((c) => [c, c] as const)).map(([c, b]) => [foldName(c), b]),
  );
  const text = (object: SchemaObject | undefined, column: string): ColumnText | undefined =>
    object === undefined
      ? undefined
      : parseTable(object.sql).columns.find((c) => foldName(c.name) === foldName(column));
  return columnsOf(to).map((column): ColumnOrigin => {
    const from = known.columns.find((c) => c.theirs !== null && foldName(c.common) === foldName(column));
    if (from !== undefined)
      return [column, mine.find((c) => fromBase.get(foldName(c)) === from.base) ?? null];
    // We added it, and its name is no other column's. If both sides added it, our values are kept under either definition.
    if (text(our, column)?.generated !== false) return [column, null];
    return [
      column,
      mine.find((c) => foldName(c) === foldName(column) && fromBase.get(foldName(c)) == null) ?? null,
    ];
  });
}
