/** Groups of tables connected by declared foreign keys: with whole transactions, all rows of a group share one shard. Pure. */
import { foldName } from "../base/names.ts";

export interface TiedTable {
  readonly id: number;
  readonly name: string;
  /** Names of the tables that it references, in any case. */
  readonly references: readonly string[];
}

/**
 * Table id ⇒ the name by which its rows are routed: the name of the group's oldest table (lowest id). A table without
 * foreign keys in either direction is absent. References to tables that are not given are ignored.
 */
export function groupNames(tables: readonly TiedTable[]): Map<number, string> {
  const byName = new Map(tables.map((t) => [foldName(t.name), t]));
  const parent = new Map(tables.map((t) => [t.id, t.id]));
  const root = (id: number): number => {
    let at = id;
    while (parent.get(at)! !== at) at = parent.get(at)!;
    return at;
  };
  const tied = new Set<number>();
  for (const table of tables)
    for (const name of table.references) {
      const other = byName.get(foldName(name));
      if (other === undefined) continue;
      tied.add(table.id).add(other.id);
      const [a, b] = [root(table.id), root(other.id)];
      parent.set(Math.max(a, b), Math.min(a, b));
    }
  const names = new Map(tables.map((t) => [t.id, t.name]));
  return new Map([...tied].map((id) => [id, names.get(root(id))!]));
}
