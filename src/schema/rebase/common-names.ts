/**
 * Both sides' renames put together: every table and column that the base had gets one name under which the base, this
 * node's schema and the cluster's can be compared. Where both renamed the same, or a new name is taken, theirs stands.
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

/** Generated ones, too. */
export const columnNames = (object: SchemaObject): string[] =>
  isVirtual(object) ? [] : parseTable(object.sql).columns.map((c) => c.name);

/** Where a column went that the base had; null: away. */
function columnTo(lineage: TableLineage | undefined, column: string): string | null {
  if (lineage === undefined) return column;
  return (
    lineage.columns.find(([, before]) => before !== null && foldName(before) === foldName(column))?.[0] ??
    null
  );
}

/** Of one side: where each generated column went. No recorder tells; where there are as many, the order does. */
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

/** A side's schema, and what led there from the base. */
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

/** Gives every table and column its common name. Lists our new names that do not stand. */
export function settleNames(names: readonly TableNames[], onto: SchemaState, appDb: SchemaState): LostName[] {
  const lost: LostName[] = [];
  const both = names.filter((n) => n.theirs !== null && n.ours !== null);
  const dropped = new Set(
    names.flatMap((n) => (n.ours === null && n.theirs !== null ? [foldName(n.theirs)] : [])),
  );
  const others = onto.objects
    .filter((o) => o.kind !== "trigger" && !dropped.has(foldName(o.tableName)))
    .filter((o) => !both.some((n) => o.kind === "table" && foldName(n.theirs!) === foldName(o.name)))
    .map((o) => o.name);
  for (const table of settle(both, others))
    lost.push({
      table: table.ours!,
      column: null,
      reason: "it has another name elsewhere, or the name is taken",
    });
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
      lost.push({
        table: table.ours!,
        column: column.ours,
        reason: "it has another name elsewhere, or the name is taken",
      });
    const taken = new Set([...kept.map((c) => c.common), ...added, ...ours].map(foldName));
    for (const column of table.columns) {
      if (kept.includes(column)) continue;
      column.common = column.theirs ?? column.base;
      // One that is going away makes room for the one that is called so now.
      if (column.theirs === null || taken.has(foldName(column.common)))
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
    if (renamed && !isOurs && foldName(item.ours!) !== foldName(item.theirs!)) lost.add(item);
  }
  for (;;) {
    const count = new Map<string, number>();
    for (const name of [...others, ...list.map((i) => i.common)])
      count.set(foldName(name), (count.get(foldName(name)) ?? 0) + 1);
    const twice = list.filter((i) => i.common !== i.theirs && count.get(foldName(i.common))! > 1);
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
