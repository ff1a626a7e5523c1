/** Merges three texts of one table, in common names, part by part. */
import { foldName } from "../../base/names.ts";
import { afterTableName } from "../../sqlite/ddl-text/index-text.ts";
import { isVirtual } from "../virtual-tables.ts";
import { type ColumnText, parseTable, sameTokens, tableText } from "../../sqlite/ddl-text/table-text.ts";

interface RejectedPart {
  /** Its name in our text, if its values are rejected, too; null: only a definition is. */
  readonly column: string | null;
  readonly reason: string;
}

export interface MergedTable {
  readonly sql: string;
  /** Rejected parts of ours. */
  readonly rejected: readonly RejectedPart[];
}

/** Apart from their names. Texts of virtual tables are compared as they are. */
export function sameTable(a: string, b: string): boolean {
  if (isVirtual({ sql: a }) || isVirtual({ sql: b })) return a === b;
  return sameTokens(afterTableName(a), afterTableName(b));
}

/** Rejected tables and columns of ours have names with this prefix while sides are merged. */
export const REJECTED_PREFIX = "__marmot__lost_";

/** Whether a table has all columns and constraints of another, and perhaps more. */
export function extendsTable(table: string, other: string): boolean {
  if (isVirtual({ sql: table }) || isVirtual({ sql: other })) return table === other;
  const [more, less] = [parseTable(table), parseTable(other)];
  const byName = new Map(more.columns.map((c) => [foldName(c.name), c]));
  return (
    sameTokens(more.options, less.options) &&
    less.constraints.every((c) => more.constraints.some((m) => sameTokens(m, c))) &&
    less.columns.every((c) => {
      const found = byName.get(foldName(c.name));
      return found !== undefined && sameTokens(found.definition, c.definition);
    })
  );
}

/** Where both sides changed the same part differently, theirs wins. */
export function mergeTable(base: string, ours: string, theirs: string): MergedTable {
  if (sameTable(ours, base) || sameTable(ours, theirs)) return { sql: theirs, rejected: [] };
  if (sameTable(theirs, base) && !ours.includes(REJECTED_PREFIX)) return { sql: ours, rejected: [] };
  const rejected: RejectedPart[] = [];
  const [b, o, t] = [parseTable(base), parseTable(ours), parseTable(theirs)];
  const columns = mergeColumns(b.columns, o.columns, t.columns, rejected);
  const has = (list: readonly string[], part: string): boolean => list.some((p) => sameTokens(p, part));
  const constraints = t.constraints.filter((c) => !has(b.constraints, c) || has(o.constraints, c));
  constraints.push(...o.constraints.filter((c) => !has(b.constraints, c) && !has(t.constraints, c)));
  let { options } = t;
  if (!sameTokens(o.options, b.options) && !sameTokens(o.options, t.options)) {
    if (sameTokens(t.options, b.options)) ({ options } = o);
    else rejected.push({ column: null, reason: "its options were changed differently on another node" });
  }
  const sql = tableText({ head: t.head, columns, constraints, options });
  if (sameTable(sql, theirs)) return { sql: theirs, rejected };
  return { sql: sameTable(sql, ours) ? ours : sql, rejected };
}

function mergeColumns(
  base: readonly ColumnText[],
  ours: readonly ColumnText[],
  theirs: readonly ColumnText[],
  rejected: RejectedPart[],
): ColumnText[] {
  const byName = (list: readonly ColumnText[]): Map<string, ColumnText> =>
    new Map(list.map((c) => [foldName(c.name), c]));
  const [inBase, inOurs, inTheirs] = [byName(base), byName(ours), byName(theirs)];
  const same = (a: ColumnText, b: ColumnText): boolean => sameTokens(a.definition, b.definition);
  const merged: ColumnText[] = [];
  for (const their of theirs) {
    const was = inBase.get(foldName(their.name));
    const our = inOurs.get(foldName(their.name));
    if (our === undefined) {
      // We dropped it, and our change is the later one in the log.
      if (was === undefined) merged.push(their);
      continue;
    }
    const isOurs = was === undefined ? false : !same(our, was);
    if (was !== undefined && same(their, was)) merged.push(isOurs ? our : their);
    else {
      merged.push(their);
      // Added on both sides it is one column. It holds the values of both if both store it.
      const isStored = was === undefined && !our.generated && !their.generated;
      if (!same(our, their) && (isOurs || was === undefined))
        rejected.push({
          column: isStored ? null : our.name,
          reason: `its column ${our.name} was ${was === undefined ? "added" : "changed"} differently on another node`,
        });
    }
  }
  for (const our of ours) {
    if (inTheirs.has(foldName(our.name)) || our.name.startsWith(REJECTED_PREFIX)) continue;
    const was = inBase.get(foldName(our.name));
    if (was === undefined) merged.push(our);
    else if (!same(our, was))
      rejected.push({ column: our.name, reason: `its column ${our.name} was dropped on another node` });
  }
  return merged;
}
