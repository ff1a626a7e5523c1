/** Tells which change of this node is rejected, and which rows or columns of the app database are rejected with it. */
import { foldName } from "../../base/names.ts";
import type { SchemaObject } from "../../sqlite/schema.ts";
import type { RejectedChange, SchemaChange, SchemaState } from "../diff/change.ts";
import { tablesOf } from "../diff/diff.ts";
import type { RejectedName, TableNames } from "./common-names.ts";
import type { RejectedObject } from "./merge-catalogues.ts";
import { lineageOf, type Sides } from "./sides.ts";

/** The table of the app database that a change is about; null: none, or it was dropped. */
export function tableOf(appDb: SchemaState, change: SchemaChange): string | null {
  const named =
    change.op === "renameTable"
      ? change.to
      : change.op === "alterTable" || change.op === "createTable"
        ? change.name
        : change.op === "create" || change.op === "replace"
          ? change.tableName
          : null;
  return named === null ? null : (tablesOf(appDb).get(foldName(named))?.name ?? null);
}

export function rejectedChange(appDb: SchemaState, change: SchemaChange, reason: string): RejectedChange {
  const hasRows = change.op === "createTable" || change.op === "alterTable" || change.op === "renameTable";
  if (!hasRows) return { change, reason, table: null, columns: null };
  const added =
    change.op === "alterTable" ? change.columns.flatMap(([c, before]) => (before === null ? [c] : [])) : null;
  return { change, reason, table: tableOf(appDb, change), columns: added };
}

export function rejectedName({ pending }: Sides, { table, column, reason }: RejectedName): RejectedChange {
  const isOf = (c: SchemaChange): boolean =>
    column === null
      ? c.op === "renameTable" && foldName(c.to) === foldName(table)
      : c.op === "alterTable" && foldName(c.name) === foldName(table);
  const change = pending.find(isOf) ?? pending[0]!;
  const name = column === null ? `the table name ${table}` : `the column name ${column}`;
  const isAdded =
    column !== null &&
    change.op === "alterTable" &&
    change.columns.some(([c, before]) => before === null && foldName(c) === foldName(column));
  return {
    change,
    reason: `${name} was rejected: ${reason}`,
    table: isAdded ? table : null,
    columns: isAdded ? [column] : null,
  };
}

/** All changes of ours of one table of the base. */
export function rejectedTable(sides: Sides, base: string, reason: string): RejectedChange[] {
  const now = foldName(lineageOf(sides, base)?.to ?? base);
  return sides.pending.flatMap((change) => {
    const isOf =
      (change.op === "dropTable" && foldName(change.name) === base) ||
      (change.op === "alterTable" && foldName(change.name) === now) ||
      (change.op === "renameTable" && foldName(change.to) === now);
    return isOf ? [rejectedChange(sides.appDb, change, reason)] : [];
  });
}

/** `names`: the tables whose common names the rejected object uses. */
export function rejectedObject(
  { pending }: Sides,
  { kind, name, reason, column }: RejectedObject,
  names: readonly TableNames[],
): RejectedChange {
  const table = names.find((n) => foldName(n.common) === foldName(name));
  const ours = kind === "table" ? (table?.ours ?? name) : name;
  const change = pending.find((c) => isChangeOf(c, kind, ours)) ?? pending[0]!;
  if (kind !== "table") return { change, reason, table: null, columns: null };
  if (table === undefined) return { change, reason, table: ours, columns: null };
  if (column === null) return { change, reason, table: null, columns: null };
  const ourColumn = table.columns.find((c) => foldName(c.common) === foldName(column))?.ours ?? column;
  return { change, reason, table: ours, columns: [ourColumn] };
}

function isChangeOf(change: SchemaChange, kind: SchemaObject["kind"], name: string): boolean {
  if (kind !== "table")
    return "kind" in change && change.kind === kind && foldName(change.name) === foldName(name);
  if (change.op === "renameTable") return foldName(change.to) === foldName(name);
  return (
    (change.op === "createTable" || change.op === "alterTable") && foldName(change.name) === foldName(name)
  );
}
