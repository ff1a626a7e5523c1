/** Rows of an undo after which a declared reference would have no row. */
import { type Image, TextBytes, type Value, valueEqual } from "../../change/value.ts";
import { bind } from "../../rows/exact-values.ts";
import type { ForeignKey } from "../../schema/foreign-keys.ts";
import { quoteIdentifier } from "../../sqlite/quote.ts";
import { integer, readTuples } from "../../sqlite/typed-rows.ts";
import type { RowWriter } from "../restore/row-writer.ts";
import type { ChosenRow } from "./chosen-changes.ts";

/** A row that an undo changes. */
export interface Target {
  readonly row: ChosenRow;
  readonly now: Image | null;
  readonly wanted: Image | null;
}

export interface Dangling {
  readonly target: Target;
  readonly reason: string;
}

/** The targets are written. A reference that dangles without the undo does not count. */
export function danglingRows(
  writer: RowWriter,
  foreignKeys: readonly ForeignKey[],
  targets: readonly Target[],
): Dangling[] {
  const found = new Map<Target, string>();
  for (const foreignKey of foreignKeys) {
    const { child, parent, columns, parentColumns } = foreignKey;
    const children = changedIn(targets, child.id, columns, ({ wanted }) => wanted);
    for (const target of without(writer, foreignKey, "parent", children))
      found.set(target, `the row of ${parent.name} to which it refers is not there`);
    const parents = changedIn(targets, parent.id, parentColumns, ({ now }) => now);
    for (const target of without(writer, foreignKey, "child", parents))
      found.set(target, `rows of ${child.name} refer to it`);
  }
  return [...found].map(([target, reason]) => ({ target, reason }));
}

interface Referred {
  readonly target: Target;
  /** Of the columns of the foreign key. */
  readonly values: readonly Value[];
}

/** The values of the columns in the picked row, where the undo removes or adds them. */
function changedIn(
  targets: readonly Target[],
  table: number,
  columns: readonly number[],
  pick: (target: Target) => Image | null,
): Referred[] {
  return targets.flatMap((target) => {
    if (target.row.shape.id !== table) return [];
    const image = pick(target);
    if (image === null) return [];
    const other = image === target.now ? target.wanted : target.now;
    const values = columns.map((c) => image[c] ?? null);
    const isSame = other !== null && columns.every((c, i) => valueEqual(values[i]!, other[c] ?? null));
    return isSame || values.some((v) => v === null || v instanceof TextBytes) ? [] : [{ target, values }];
  });
}

/** Those without a row of the parent; with "child", only those to which a row of the child refers. */
function without(
  { db }: RowWriter,
  { child, parent, columns, parentColumns, collations }: ForeignKey,
  of: "parent" | "child",
  all: readonly Referred[],
): Target[] {
  if (all.length === 0) return [];
  const names = columns.map((_, i) => `"v${i}"`);
  db.exec(`CREATE TEMP TABLE "referred"("n" INTEGER PRIMARY KEY, ${names.join(", ")})`);
  try {
    const put = db.prepare(`INSERT INTO temp."referred" VALUES(?${", ?".repeat(names.length)})`);
    all.forEach(({ values }, n) => put.run(n, ...values.map(bind)));
    const is = (shape: ForeignKey["child"], at: readonly number[], alias: string): string =>
      at
        .map((c, i) => {
          const column = `${alias}.${quoteIdentifier(shape.columns[c]!.name)}`;
          return `${column} = r.${names[i]!} COLLATE ${quoteIdentifier(collations[i] ?? "BINARY")}`;
        })
        .join(" AND ");
    const join =
      of === "parent" ? "" : `JOIN main.${quoteIdentifier(child.name)} c ON ${is(child, columns, "c")}`;
    const found = db.prepare(
      `SELECT DISTINCT r."n" FROM temp."referred" r ${join}
       WHERE NOT EXISTS (SELECT 1 FROM main.${quoteIdentifier(parent.name)} p WHERE ${is(parent, parentColumns, "p")})`,
    );
    found.setReturnArrays(true);
    return readTuples(found.all(), integer).map(([n]) => all[n]!.target);
  } finally {
    db.exec(`DROP TABLE temp."referred"`);
  }
}
