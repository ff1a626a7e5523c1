/**
 * The SQL of a table's change log and triggers. They run on the application's connection, under any of its settings: no
 * functions, no conflict clauses (a trigger takes the outer statement's), every name quoted, and only keys are logged.
 */
import { declaredColumns, type TableShape } from "../change/shape.ts";
import { type EvictionLookup, evictionLookups } from "../schema/evictions.ts";
import { changeLogSql, keepIndexName, type TriggerKind, triggerName } from "../schema/app-db-tables.ts";
import { quoteIdentifier } from "../sqlite/quote.ts";
import { rowidAliases, type Table } from "../sqlite/schema.ts";

export interface CaptureObject {
  readonly kind: "table" | "trigger" | "index";
  readonly name: string;
  readonly sql: string;
}

/**
 * Everything that captures one table, in the order of creation. `log`: the change log's name. `recorded`: the file's names
 * of the columns of the cluster's table, if they differ.
 */
export function captureObjects(
  shape: TableShape,
  table: Table,
  log: string,
  recorded: readonly string[] | null = null,
): CaptureObject[] {
  const name = quoteIdentifier(shape.name);
  const into = quoteIdentifier(log);
  const keys = shape.key.map((k) => quoteIdentifier(shape.columns[k]!.name));
  const logKeys = keys.map((_, i) => `k${i + 1}`).join(", ");
  const record = (row: "NEW" | "OLD") =>
    `INSERT INTO ${into}(${logKeys}) VALUES(${keys.map((k) => `${row}.${k}`).join(", ")});`;
  const trigger = (kind: TriggerKind, event: string, body: string): CaptureObject =>
    createTrigger(shape.id, kind, event, body);
  // An UPDATE can change the rowid under its other names without naming the key's column.
  const aliases = shape.integerKey ? rowidAliases(table).map(quoteIdentifier) : [];
  const moved = keys.map((k) => `OLD.${k} IS NOT NEW.${k}`).join(" OR ");
  const columns = (recorded ?? declaredColumns(shape).map((c) => c.name)).map(quoteIdentifier).join(", ");
  const objects: CaptureObject[] = [
    { kind: "table", name: log, sql: changeLogSql(log, keys.length) },
    trigger("insert", `AFTER INSERT ON ${name}`, record("NEW")),
    trigger("update", `AFTER UPDATE ON ${name}`, record("NEW")),
    trigger("delete", `AFTER DELETE ON ${name}`, record("OLD")),
    trigger(
      "rekey",
      `AFTER UPDATE OF ${[...new Set([...keys, ...aliases])].join(", ")} ON ${name} WHEN ${moved}`,
      record("OLD"),
    ),
    // Never fires: SQLite rewrites its column list on RENAME, which distinguishes a rename from a drop and an add.
    trigger("columns", `AFTER UPDATE OF ${columns} ON ${name} WHEN 0`, "SELECT 1;"),
  ];
  if (shape.rowidKey) {
    // An index that never holds a row: with it VACUUM keeps the rowids.
    const index = keepIndexName(shape.id);
    const sql = `CREATE INDEX ${quoteIdentifier(index)} ON ${name}((0)) WHERE 0`;
    objects.push({ kind: "index", name: index, sql });
  }
  return [...objects, ...evictionTriggers(shape, table, { into, keys, logKeys })];
}

interface LogSql {
  /** The change log, quoted. */
  readonly into: string;
  /** The table's key columns, quoted. */
  readonly keys: readonly string[];
  /** The log's key columns. */
  readonly logKeys: string;
}

function createTrigger(tableId: number, kind: TriggerKind, event: string, body: string): CaptureObject {
  const name = triggerName(tableId, kind);
  const sql = `CREATE TRIGGER ${quoteIdentifier(name)} ${event} BEGIN ${body} END`;
  return { kind: "trigger", name, sql };
}

/** Log the keys of rows that a conflict clause may evict. Empty: the table has no UNIQUE index beside its key. */
function evictionTriggers(shape: TableShape, table: Table, { into, keys, logKeys }: LogSql): CaptureObject[] {
  const lookups = evictionLookups(shape, table);
  if (lookups.length === 0) return [];
  const name = quoteIdentifier(shape.name);
  const updated = evictionLookups(shape, table, "UPDATE");
  const bodyOf = (of: readonly EvictionLookup[]): string =>
    of
      .map(
        (l) =>
          `INSERT INTO ${into}(${logKeys}, v) SELECT ${keys.join(", ")}, 1 FROM ${name} WHERE ${l.where};`,
      )
      .join(" ");
  const claimed = [...new Set(lookups.flatMap((l) => l.columns))].map(quoteIdentifier);
  // A BEFORE UPDATE trigger gets only the columns that it names; generated columns are computed from these alone.
  const given = lookups.some((l) => l.generated)
    ? `SELECT ${claimed.map((c) => `NEW.${c}`).join(", ")}; `
    : "";
  // A UNIQUE constant names no column.
  const of = claimed.length === 0 ? "" : ` OF ${claimed.join(", ")}`;
  return [
    createTrigger(shape.id, "evict_insert", `BEFORE INSERT ON ${name}`, bodyOf(lookups)),
    createTrigger(shape.id, "evict_update", `BEFORE UPDATE${of} ON ${name}`, given + bodyOf(updated)),
  ];
}
