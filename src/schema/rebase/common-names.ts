/**
 * Combines the renames of both sides: every table and column of the base gets one common name, under which the base, this node's
 * schema and the cluster's can be compared. Where both sides renamed the same object, or a new name is taken, theirs wins.
 */
import { foldName } from "../../base/names.ts";
import type { SchemaObject } from "../../sqlite/schema.ts";
import { isVirtual } from "../virtual-tables.ts";
import type { SchemaState } from "../diff/change.ts";
import { tablesOf } from "../diff/diff.ts";
import type { TableLineage } from "../diff/evolve.ts";
import type { Renaming } from "./renamed-state.ts";
import { type ColumnText, parseTable } from "../../sqlite/ddl-text/table-text.ts";

export interface ColumnNames {
  readonly base: string;
  /** null: they dropped it. */
  readonly theirs: string | null;
  readonly ours: string | null;
  common: string;
}

export interface TableNames {
  readonly base: string;
  readonly theirs: string | null;
  readonly ours: string | null;
  common: string;
  readonly columns: ColumnNames[];
}

/** A new name of ours that is rejected. */
export interface RejectedName {
  /** By its name in the app database. */
  readonly table: string;
  /** null: the table's own name. */
  readonly column: string | null;
  readonly reason: string;
}

/** With generated ones. */
export const columnNames = (object: SchemaObject): string[] =>
  isVirtual(object) ? [] : parseTable(object.sql).columns.map((c) => c.name);

/** The name of a column of the base after the lineage; null: dropped. */
function columnTo(lineage: TableLineage | undefined, column: string): string | null {
  if (lineage === undefined) return column;
  return (
    lineage.columns.find(([, before]) => before !== null && foldName(before) === foldName(column))?.[0] ??
    null
  );
}

/** The names of generated columns on one side. They are not recorded; if their number is the same, their order decides. */
function generatedTo(base: SchemaObject, now: SchemaObject | undefined): Map<string, string> {
  const names = (object: SchemaObject): string[] =>
    parseTable(object.sql).columns.flatMap((c) => (c.generated ? [c.name] : []));
  if (now === undefined || isVirtual(now)) return new Map();
  const [before, after] = [names(base), names(now)];
  const at = (name: string, i: number): string | undefined =>
    before.length === after.length ? after[i] : after.find((c) => foldName(c) === foldName(name));
  return new Map(
    before.flatMap((name, i) => (at(name, i) === undefined ? [] : [[foldName(name), at(name, i)!] as const])),
  );
}

/** The schema of a side, and the lineages from the base to it. */
export interface Side {
  readonly state: SchemaState;
  readonly lineages: readonly TableLineage[];
}

/** Ordinary tables of the base with their names on both sides. */
export function namesOf(base: SchemaState, theirs: Side, ours: Side): TableNames[] {
  const lookup = ({ state, lineages }: Side) => {
    const tables = tablesOf(state);
    const byFrom = new Map(
      lineages.flatMap((l) => (l.from === null ? [] : [[foldName(l.from), l] as const])),
    );
    return (table: SchemaObject) => {
      const lineage = byFrom.get(foldName(table.name));
      const to = lineage === undefined ? table.name : lineage.to;
      const generated = generatedTo(table, to === null ? undefined : tables.get(foldName(to)));
      const column = ({ name, generated: computed }: ColumnText): string | null =>
        computed ? (generated.get(foldName(name)) ?? null) : columnTo(lineage, name);
      return { to, column };
    };
  };
  const [their, our] = [lookup(theirs), lookup(ours)];
  return [...tablesOf(base).values()]
    .filter((t) => !isVirtual(t))
    .map((table) => {
      const [t, o] = [their(table), our(table)];
      const columns = parseTable(table.sql).columns.map((column): ColumnNames => {
        const { name } = column;
        return { base: name, theirs: t.column(column), ours: o.column(column), common: name };
      });
      return { base: table.name, theirs: t.to, ours: o.to, common: table.name, columns };
    });
}

/** Gives every table and column its common name. Returns our new names that are rejected. */
export function settleNames(
  names: readonly TableNames[],
  onto: SchemaState,
  appDb: SchemaState,
): RejectedName[] {
  const rejected: RejectedName[] = [];
  const both = names.filter((n) => n.theirs !== null && n.ours !== null);
  const dropped = new Set(
    names.flatMap((n) => (n.ours === null && n.theirs !== null ? [foldName(n.theirs)] : [])),
  );
  const others = onto.objects
    .filter((o) => o.kind !== "trigger" && !dropped.has(foldName(o.tableName)))
    .filter((o) => !both.some((n) => o.kind === "table" && foldName(n.theirs!) === foldName(o.name)))
    .map((o) => o.name);
  for (const table of settle(both, others))
    rejected.push({ table: table.ours!, column: null, reason: RENAMED });
  for (const name of names) if (!both.includes(name)) name.common = name.theirs ?? name.ours ?? name.base;
  const [after, mine] = [tablesOf(onto), tablesOf(appDb)];
  for (const table of both) {
    const kept = table.columns.filter((c) => c.theirs !== null && c.ours !== null);
    const addedTo = (object: SchemaObject, side: "theirs" | "ours"): string[] => {
      const old = new Set(table.columns.flatMap((c) => (c[side] === null ? [] : [foldName(c[side])])));
      return columnNames(object).filter((c) => !old.has(foldName(c)));
    };
    const added = addedTo(after.get(foldName(table.theirs!))!, "theirs");
    const ours = addedTo(mine.get(foldName(table.ours!))!, "ours");
    for (const column of settle(kept, added))
      rejected.push({ table: table.ours!, column: column.ours, reason: RENAMED });
    const taken = new Set([...kept.map((c) => c.common), ...added, ...ours].map(foldName));
    for (const column of table.columns) {
      if (kept.includes(column)) continue;
      column.common = column.theirs ?? column.base;
      // A column that one side dropped leaves its name to the column that has it now.
      if (column.theirs === null || taken.has(foldName(column.common)))
        column.common = `__marmot__gone_${column.base}`;
    }
  }
  return rejected;
}

const RENAMED = "it has another name on another node, or the name is taken";

interface Named {
  readonly base: string;
  readonly theirs: string | null;
  readonly ours: string | null;
  common: string;
}

/** Our name if only we renamed, unless two objects would have it. Returns the objects of which our name is rejected. */
function settle<T extends Named>(list: readonly T[], others: readonly string[]): T[] {
  const rejected = new Set<T>();
  for (const item of list) {
    const renamed = item.ours !== item.base;
    const isOurs = renamed && item.theirs === item.base;
    item.common = isOurs ? item.ours! : item.theirs!;
    if (renamed && !isOurs && foldName(item.ours!) !== foldName(item.theirs!)) rejected.add(item);
  }
  for (;;) {
    const count = new Map<string, number>();
    for (const name of [...others, ...list.map((i) => i.common)])
      count.set(foldName(name), (count.get(foldName(name)) ?? 0) + 1);
    const twice = list.filter((i) => i.common !== i.theirs && count.get(foldName(i.common))! > 1);
    if (twice.length === 0) return [...rejected];
    for (const item of twice) {
      item.common = item.theirs!;
      rejected.add(item);
    }
  }
}

/** From the names of one side to the common ones. */
export function renamingOf(names: readonly TableNames[], side: "base" | "theirs" | "ours"): Renaming {
  const tables = new Map<string, string>();
  const columns = new Map<string, Map<string, string>>();
  for (const table of names) {
    const name = table[side];
    if (name === null) continue;
    tables.set(foldName(name), table.common);
    columns.set(
      foldName(name),
      new Map(
        table.columns.flatMap((c) => (c[side] === null ? [] : [[foldName(c[side]), c.common] as const])),
      ),
    );
  }
  return { tables, columns };
}
