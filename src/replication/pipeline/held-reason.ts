/** The state of a node with rows that cannot be sent, as a sentence with statements that fix it. */
import type { TableShape } from "../../change/shape.ts";
import type { HeldTable } from "../../schema-sync/tables-held-back.ts";
import { quoteIdentifier } from "../../sqlite/quote.ts";

export interface WaitingTables {
  /** Tables with a row that has no key, and tables that are stored otherwise than the replica's. */
  readonly held: Iterable<number>;
  /** Tables that wait with them. */
  readonly tied: Iterable<number>;
  /** Among others, the tables that are stored otherwise. */
  readonly silent: readonly Pick<HeldTable, "id" | "name" | "reason" | "hint" | "sends">[];
}

export function heldReason(
  shapes: ReadonlyMap<number, TableShape>,
  { held, tied, silent }: WaitingTables,
): string {
  const otherwise = silent.filter((t) => !t.sends);
  const keyless = [...held].filter((id) => !otherwise.some((t) => t.id === id));
  const names = (ids: Iterable<number>): string =>
    [...ids].flatMap((id) => shapes.get(id)?.name ?? []).join(", ");
  const waiting = names(tied);
  const also =
    waiting === "" ? "" : `; ${waiting} may have been written in the same transactions and wait, too`;
  const reasons = otherwise.map(({ name, reason }) => `rows of ${name} wait on this node, as ${reason}`);
  if (keyless.length > 0)
    reasons.push(`rows of ${names(keyless)} wait on this node, as a row has NULL in its key`);
  const hints = [
    ...otherwise.map(({ hint }) => hint),
    ...keyless.flatMap((id) => shapes.get(id) ?? []).map(hintOfKey),
  ];
  return `${reasons.join("; ")}${also}; other tables go on (hint: ${hints.join("; ")})`;
}

function hintOfKey({ name, columns, key }: TableShape): string {
  const where = key.map((k) => `${quoteIdentifier(columns[k]!.name)} IS NULL`).join(" OR ");
  return `give the row a key, or DELETE FROM ${quoteIdentifier(name)} WHERE ${where}`;
}
