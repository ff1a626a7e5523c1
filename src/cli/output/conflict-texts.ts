/** Conflicts and their restores as texts for people. */
import type {
  ConflictDetail,
  ConflictSummary,
  RestoreAllResult,
  RestoreResult,
  ShownValue,
} from "../../operations/api.ts";
import { table } from "./table.ts";

const time = (ms: number): string => new Date(ms).toISOString();

const value = (v: ShownValue | undefined): string => {
  if (v === undefined || v.type === "null") return "NULL";
  if (v.type === "blob") return `x'${v.text}'`;
  return v.type === "text" ? JSON.stringify(v.text) : v.text;
};

const stateOf = ({ state, settled }: ConflictSummary): string =>
  settled === null ? state : `${state} on ${settled.by}, ${time(settled.time)}`;

export function listText(found: readonly ConflictSummary[]): string {
  if (found.length === 0) return "no conflicts";
  const rows = found.map((c) => [
    ...[c.id, time(c.time), c.table, c.key, c.kind, c.losingOrigin, c.winningOrigin, c.state],
    c.differing.join(", "),
  ]);
  return table(["ID", "TIME", "TABLE", "KEY", "KIND", "LOST", "WON", "STATE", "DIFFERS IN"], rows);
}

/** Columns that differ have a mark. */
export function detailText(c: ConflictDetail): string {
  const image = (i: readonly ShownValue[] | null, n: number): string =>
    i === null ? "(deleted)" : value(i[n]);
  const rows = c.columns.map((name, n) => [
    ...[name, image(c.losingImage, n), image(c.winningImage, n)],
    c.differing.includes(name) ? "*" : "",
  ]);
  return [
    `conflict ${c.id}: ${c.kind} in ${c.table}, key ${c.key}, ${time(c.time)}`,
    `lost: ${c.losingOrigin}    won: ${c.winningOrigin}    ${stateOf(c)}`,
    "",
    table(["COLUMN", "LOST", "WON", ""], rows),
  ].join("\n");
}

export function restoredText(r: RestoreResult): string {
  const lines = [`conflict ${r.id}: ${r.done}, ${r.table} ${r.key}`];
  if (r.replaced !== null) {
    const image = r.columns.map((name, n) => `${name} ${value(r.replaced![n])}`).join(", ");
    lines.push(`${r.done === "deleted again" ? "deleted" : "overwrote"}: ${image}`);
  }
  for (const c of r.children)
    lines.push(
      c.done === "left"
        ? `left as it is: ${c.table} ${c.key}: ${c.reason}`
        : `${c.done} with it: ${c.table} ${c.key}${c.newKey === c.key ? "" : `, now ${c.newKey}`}`,
    );
  return lines.join("\n");
}

export function restoredAllText({ dryRun, restored, left }: RestoreAllResult): string {
  const lines = restored.map((r) => `conflict ${r.id}: ${r.done}, ${r.table} ${r.key}`);
  for (const l of left) lines.push(`conflict ${l.id}: left as it is, ${l.table} ${l.key}: ${l.reason}`);
  const written = dryRun ? "would be restored; nothing is written" : "restored";
  return [...lines, `${restored.length} ${written}, ${left.length} left`].join("\n");
}
