/** Three texts of one table, in common names: what both sides changed is put together part by part. */
import { foldName } from "../../base/names.ts";
import { afterTableName } from "../../sqlite/ddl-text/index-text.ts";
import { isVirtual } from "../virtual-tables.ts";
import { type ColumnText, parseTable, sameTokens, tableText } from "../../sqlite/ddl-text/table-text.ts";

export interface MergedTable {
  readonly sql: string;
  /** What of ours does not stand. `column`: its name in our text, if its values go with it; null: a definition alone. */
  readonly lost: readonly { readonly column: string | null; readonly reason: string }[];
}

/** Whatever they are called; of virtual ones the text is all there is. */
export function sameTable(a: string, b: string): boolean {
  if (isVirtual({ sql: a }) || isVirtual({ sql: b })) return a === b;
  return sameTokens(afterTableName(a), afterTableName(b));
}

/** What of ours is lost already, and only has a name in between. */
export const LOST = "__marmot__lost_";

/** Whether a table has all that another has, and perhaps more columns or constraints. */
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

/** Where both changed the same part differently, theirs stands. */
export function mergeTable(base: string, ours: string, theirs: string): MergedTable {
  if (sameTable(ours, base) || sameTable(ours, theirs)) return { sql: theirs, lost: [] };
  if (sameTable(theirs, base) && !ours.includes(LOST)) return { sql: ours, lost: [] };
  const lost: { column: string | null; reason: string }[] = [];
  const [b, o, t] = [parseTable(base), parseTable(ours), parseTable(theirs)];
  const columns = mergeColumns(b.columns, o.columns, t.columns, lost);
  const has = (list: readonly string[], part: string): boolean => list.some((p) => sameTokens(p, part));
  const constraints = t.constraints.filter((c) => !has(b.constraints, c) || has(o.constraints, c));
  constraints.push(...o.constraints.filter((c) => !has(b.constraints, c) && !has(t.constraints, c)));
  let { options } = t;
  if (!sameTokens(o.options, b.options) && !sameTokens(o.options, t.options)) {
    if (sameTokens(t.options, b.options)) ({ options } = o);
    else lost.push({ column: null, reason: "its options were changed otherwise elsewhere" });
  }
  const sql = tableText({ head: t.head, columns, constraints, options });
  if (sameTable(sql, theirs)) return { sql: theirs, lost };
  return { sql: sameTable(sql, ours) ? ours : sql, lost };
}

function mergeColumns(
  base: readonly ColumnText[],
  ours: readonly ColumnText[],
  theirs: readonly ColumnText[],
  lost: { column: string | null; reason: string }[],
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
      // Ours dropped it, which comes later in the order than what theirs made of it.
      if (was === undefined) merged.push(their);
      continue;
    }
    const isOurs = was === undefined ? false : !same(our, was);
    if (was !== undefined && same(their, was)) merged.push(isOurs ? our : their);
    else {
      merged.push(their);
      // Added on both sides it is one column, which holds what either wrote, where both store it.
      const isStored = was === undefined && !our.generated && !their.generated;
      if (!same(our, their) && (isOurs || was === undefined))
        lost.push({
          column: isStored ? null : our.name,
          reason: `its column ${our.name} was ${was === undefined ? "added" : "changed"} otherwise elsewhere`,
        });
    }
  }
  for (const our of ours) {
    if (inTheirs.has(foldName(our.name)) || our.name.startsWith(LOST)) continue;
    const was = inBase.get(foldName(our.name));
    if (was === undefined) merged.push(our);
    else if (!same(our, was))
      lost.push({ column: our.name, reason: `its column ${our.name} was dropped elsewhere` });
  }
  return merged;
}
