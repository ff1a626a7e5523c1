/**
 * `marmot undo`: takes recorded changes back by their before images, in one ordinary transaction of this node. A row that was changed
 * afterwards by a change that is not taken back is left alone, unless `force` is given. The transaction can itself be undone.
 */
import type { Clock } from "../../base/clock.ts";
import { errorMessage } from "../../base/errors.ts";
import { keyValues } from "../../change/key.ts";
import { type ForeignKey, readForeignKeys } from "../../schema/foreign-keys.ts";
import { queryOf } from "../../sqlite/query.ts";
import type { TableShape } from "../../change/shape.ts";
import { type Image, imageEqual, type Value, valueEqual } from "../../change/value.ts";
import { nullable, readRow, text, trusted } from "../../sqlite/typed-rows.ts";
import type { Replicator } from "../../replication/replicator.ts";
import { writeRows } from "../../rows/write-rows.ts";
import { showKey } from "../literals.ts";
import { inFile } from "../restore/in-file.ts";
import type { RowWriter } from "../restore/row-writer.ts";
import type { UndoneRow, UndoOptions, UndoResult } from "../changes-api.ts";
import { awaitOrdered, requireTable } from "./history-place.ts";
import { danglingRows, type Target } from "./dangling.ts";
import type { PastSource } from "./past-source.ts";
import { withEntries } from "./recorded-entries.ts";
import { chooseChanges, type Chosen, type ChosenRow, type PastImage } from "./chosen-changes.ts";

/** Rows that a result names. */
const SHOWN_ROWS = 1000;
/** Comparisons after writing: triggers of the application may write the rows again. */
const MAX_ROUNDS = 8;

/** Rows that stay as they are, by table and key. */
class Left {
  readonly #reasons = new Map<string, UndoResult["left"][number]>();

  add({ shape, keyId }: ChosenRow, reason: string): void {
    const [table, key] = [shape.name, showKey(shape, keyId)];
    this.#reasons.set(`${table}/${key}`, { table, key, reason });
  }

  get all(): UndoResult["left"] {
    return [...this.#reasons.values()];
  }
}

/** Rejects with `UserError`; nothing is written then. */
export async function undo(
  replicator: Replicator,
  clock: Clock,
  options: UndoOptions,
  past: PastSource | null,
): Promise<UndoResult> {
  await awaitOrdered(replicator, clock, options.since ?? options.position ?? "");
  if (options.table !== null) requireTable(replicator, options.table);
  const chosen = await withEntries({ replicator, clock, past }, options, (recorded) =>
    chooseChanges(replicator, options, recorded),
  );
  return inFile(replicator, clock, (writer) => takeBack(writer, chosen, options), { dryRun: options.dryRun });
}

function takeBack(writer: RowWriter, chosen: Chosen, { force, dryRun }: UndoOptions): UndoResult {
  const left = new Left();
  const foreignKeys = force ? [] : foreignKeysOf(writer);
  const refused = new Set<ChosenRow>();
  const { db } = writer;
  for (;;) {
    db.exec("SAVEPOINT undo");
    const targets = chosen.rows.flatMap((row) =>
      refused.has(row) ? [] : (targetOf(writer, row, force, left) ?? []),
    );
    const clashing = write(writer, targets, left);
    const dangling = clashing === null ? danglingRows(writer, foreignKeys, targets) : [];
    if (clashing === null && dangling.length === 0) {
      db.exec("RELEASE undo");
      return resultOf(chosen, targets, left, dryRun);
    }
    // Without these rows the others may still be written.
    db.exec("ROLLBACK TO undo; RELEASE undo");
    if (clashing !== null) refused.add(clashing);
    for (const { target, reason } of dangling) {
      refused.add(target.row);
      left.add(target.row, reason);
    }
  }
}

const foreignKeysOf = ({ db, replicator }: RowWriter): readonly ForeignKey[] =>
  readForeignKeys(queryOf(db), replicator.replica.replica.shapes.values());

/** The row as it was before the chosen changes; null: it is so already, or stays. */
function targetOf(writer: RowWriter, row: ChosenRow, force: boolean, left: Left): Target | null {
  const now = writer.accessTo(row.shape).get(keyValues(row.shape, row.keyId));
  let wanted: Image | null = now;
  for (const { before, after } of row.changes.toReversed()) {
    if (!force && !isSamePast(wanted, after)) {
      left.add(row, "it was changed since");
      break;
    }
    wanted = filled(writer, row.shape, before, wanted);
  }
  return isSame(wanted, now) ? null : { row, now, wanted };
}

const isSamePast = (now: Image | null, past: PastImage | null): boolean =>
  now === null || past === null
    ? now === past
    : past.every((value, i) => value === undefined || valueEqual(value, now[i] ?? null));

/** Columns that the past row did not have keep their value, or get their default. */
function filled(
  { db }: RowWriter,
  { name, columns }: TableShape,
  past: PastImage | null,
  now: Image | null,
): Image | null {
  return (
    past?.map((value, i) => {
      if (value !== undefined) return value;
      if (now !== null) return now[i] ?? null;
      return defaultOf(db, name, columns[i]!.name);
    }) ?? null
  );
}

/** The default of a column that was added: SQLite permits only constants there. */
function defaultOf(db: RowWriter["db"], table: string, column: string): Value {
  const row = db
    .prepare("SELECT dflt_value AS text FROM pragma_table_info(?) WHERE name = ?")
    .get(table, column);
  const { text: sql } = readRow(row, { text: nullable(text) });
  if (sql === null) return null;
  const statement = db.prepare(`SELECT ${sql}`);
  statement.setReturnArrays(true);
  statement.setReadBigInts(true);
  return trusted<Value[]>(statement.get())[0] ?? null;
}

const isSame = (a: Image | null, b: Image | null): boolean =>
  a === null || b === null ? a === b : imageEqual(a, b);

/** null: all rows are as they are wanted; else a row that cannot be written, with its reason in `left`. */
function write(writer: RowWriter, targets: readonly Target[], left: Left): ChosenRow | null {
  const present = ({ row: { shape, keyId } }: Target): Image | null =>
    writer.accessTo(shape).get(keyValues(shape, keyId));
  let current: ChosenRow | null = null;
  for (let round = 0; round < MAX_ROUNDS; round++) {
    const open = targets.filter((target) => !isSame(present(target), target.wanted));
    if (open.length === 0) return null;
    for (const [shape, of] of Map.groupBy(open, ({ row }) => row.shape)) {
      const access = writer.accessTo(shape);
      const rows = of.map(({ row, wanted }) => ({ row, key: keyValues(shape, row.keyId), image: wanted }));
      const rowOf = new Map(of.map(({ row, wanted }) => [wanted, row]));
      try {
        const blocked = writeRows(access, rows, (image) => {
          current = rowOf.get(image)!;
          access.upsert(image);
        });
        if (blocked === null) continue;
        left.add(blocked.row, "another row has its UNIQUE value by now");
        return blocked.row;
      } catch (error) {
        if (current === null || !writer.db.isTransaction) throw error;
        left.add(current, `the file refuses it: ${errorMessage(error)}`);
        return current;
      }
    }
  }
  const [first] = targets.filter((target) => !isSame(present(target), target.wanted));
  left.add(first!.row, "a trigger of the application changes it again");
  return first!.row;
}

function resultOf(chosen: Chosen, targets: readonly Target[], left: Left, dryRun: boolean): UndoResult {
  const counts = new Map<string, number>();
  for (const { row } of targets) counts.set(row.shape.name, (counts.get(row.shape.name) ?? 0) + 1);
  const whole = [...chosen.impossible].map(([table, reason]) => ({ table, key: "", reason }));
  const all = [...whole, ...left.all];
  return {
    dryRun,
    transactions: chosen.transactions,
    tables: [...counts].map(([table, rows]) => ({ table, rows })),
    rows: targets.slice(0, SHOWN_ROWS).map(shown),
    left: all.slice(0, SHOWN_ROWS),
    leftRows: all.length,
  };
}

function shown({ row: { shape, keyId }, now, wanted }: Target): UndoneRow {
  const done = wanted === null ? "deleted" : now === null ? "inserted again" : "changed back";
  return { table: shape.name, key: showKey(shape, keyId), done };
}
