/**
 * Both sides' renames put together: every table and column that the base had gets one name under which the base, this
 * node's schema and the cluster's can be compared. Where both renamed the same, or a new name is taken, theirs stands.
 */
import type { SchemaObject } from "../../sqlite/schema.ts";
import { isVirtual } from "../user-triggers.ts";
import type { SchemaState } from "./change.ts";
import { tablesOf } from "./compare.ts";
import type { TableLineage } from "./follow.ts";
import type { Renaming } from "./renamed-state.ts";
import { parseTable } from "./table-text.ts";

export interface ColumnNames {
  readonly base: string;
  /** null: dropped there. */
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

export interface LostName {
  /** In the live file's names. */
  readonly table: string;
  /** null: the table's own name. */
  readonly column: string | null;
  readonly reason: string;
}

const lower = (name: string): string => name.toLowerCase();

const columnNames = (object: SchemaObject): string[] =>
  isVirtual(object) ? [] : parseTable(object.sql).columns.map((c) => c.name);

/** Where a column went that the base had; null: away. */
function columnTo(lineage: TableLineage | undefined, column: string): string | null {
  if (lineage === undefined) return column;
  return (
    lineage.columns.find(([, before]) => before !== null && lower(before) === lower(column))?.[0] ?? null
  );
}

/** Ordinary tables of the base with their names on both sides. */
export function namesOf(
  base: SchemaState,
  theirs: readonly TableLineage[],
  ours: readonly TableLineage[],
): TableNames[] {
  const byFrom = (list: readonly TableLineage[]): Map<string, TableLineage> =>
    new Map(list.flatMap((l) => (l.from === null ? [] : [[lower(l.from), l] as const])));
  const [their, our] = [byFrom(theirs), byFrom(ours)];
  return [...tablesOf(base).values()]
    .filter((t) => !isVirtual(t))
    .map((table) => {
      const [t, o] = [their.get(lower(table.name)), our.get(lower(table.name))];
      const stored = parseTable(table.sql).columns.filter((c) => !c.generated);
      const columns = stored.map(({ name }): ColumnNames => {
        return { base: name, theirs: columnTo(t, name), ours: columnTo(o, name), common: name };
      });
      return {
        base: table.name,
        theirs: t === undefined ? table.name : t.to,
        ours: o === undefined ? table.name : o.to,
        common: table.name,
        columns,
      };
    });
}

/** Gives every table and column its common name. Lists our new names that do not stand. */
export function settleNames(names: readonly TableNames[], onto: SchemaState): LostName[] {
  const lost: LostName[] = [];
  const both = names.filter((n) => n.theirs !== null && n.ours !== null);
  const dropped = new Set(
    names.flatMap((n) => (n.ours === null && n.theirs !== null ? [lower(n.theirs)] : [])),
  );
  const others = onto.objects
    .filter((o) => o.kind !== "trigger" && !dropped.has(lower(o.tableName)))
    .filter((o) => !both.some((n) => o.kind === "table" && lower(n.theirs!) === lower(o.name)))
    .map((o) => o.name);
  for (const table of settle(both, others))
    lost.push({
      table: table.ours!,
      column: null,
      reason: "it has another name elsewhere, or the name is taken",
    });
  for (const name of names) if (!both.includes(name)) name.common = name.theirs ?? name.ours ?? name.base;
  const after = tablesOf(onto);
  for (const table of both) {
    const kept = table.columns.filter((c) => c.theirs !== null && c.ours !== null);
    const mine = new Set(table.columns.flatMap((c) => (c.theirs === null ? [] : [lower(c.theirs)])));
    const added = columnNames(after.get(lower(table.theirs!))!).filter((c) => !mine.has(lower(c)));
    for (const column of settle(kept, added))
      lost.push({
        table: table.ours!,
        column: column.ours,
        reason: "it has another name elsewhere, or the name is taken",
      });
    const taken = new Set([...kept.map((c) => lower(c.common)), ...added.map(lower)]);
    for (const column of table.columns) {
      if (kept.includes(column)) continue;
      column.common = column.theirs ?? column.base;
      // One that is going away makes room for the one that is called so now.
      if (column.theirs === null || taken.has(lower(column.common)))
        column.common = `__marmot__gone_${column.base}`;
    }
  }
  return lost;
}

interface Named {
  readonly base: string;
  readonly theirs: string | null;
  readonly ours: string | null;
  common: string;
}

/** Ours where only we renamed, unless that makes two of one name. Gives those whose new name of ours does not stand. */
function settle<T extends Named>(list: readonly T[], others: readonly string[]): T[] {
  const lost = new Set<T>();
  for (const item of list) {
    const renamed = item.ours !== item.base;
    const isOurs = renamed && item.theirs === item.base;
    item.common = isOurs ? item.ours! : item.theirs!;
    if (renamed && !isOurs && lower(item.ours!) !== lower(item.theirs!)) lost.add(item);
  }
  for (;;) {
    const count = new Map<string, number>();
    for (const name of [...others, ...list.map((i) => i.common)])
      count.set(lower(name), (count.get(lower(name)) ?? 0) + 1);
    const twice = list.filter((i) => i.common !== i.theirs && count.get(lower(i.common))! > 1);
    if (twice.length === 0) return [...lost];
    for (const item of twice) {
      item.common = item.theirs!;
      lost.add(item);
    }
  }
}

/** From one side's names to the common ones. */
export function renamingOf(names: readonly TableNames[], side: "base" | "theirs" | "ours"): Renaming {
  const tables = new Map<string, string>();
  const columns = new Map<string, Map<string, string>>();
  for (const table of names) {
    const name = table[side];
    if (name === null) continue;
    tables.set(lower(name), table.common);
    columns.set(
      lower(name),
      new Map(table.columns.flatMap((c) => (c[side] === null ? [] : [[lower(c[side]), c.common] as const]))),
    );
  }
  return { tables, columns };
}
