/** Plain text tables. */

import { visible } from "../../base/visible.ts";

export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [head, ...rows].map((row) => row.map(visible));
  // Columns of the terminal: a wide character takes two, a combining one none.
  const widths = head.map((_, i) => Math.max(...all.map((row) => Bun.stringWidth(row[i] ?? ""))));
  const pad = (cell: string, i: number): string => cell + " ".repeat(widths[i]! - Bun.stringWidth(cell));
  return all.map((row) => row.map(pad).join("  ").trimEnd()).join("\n");
}
