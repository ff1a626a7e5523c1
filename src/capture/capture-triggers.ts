/**
 * The SQL of a table's change log and triggers. They run on the application's connection whatever its settings: no
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
 * Everything that captures one table, in the order of creation. `log`: the change log's name. `recorded`: what the columns
 * of the cluster's table are called here, if others.
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
  const trigger = (kind: TriggerKind, event: string, body: string): CaptureObject => {
    const quoted = quoteIdentifier(triggerName(shape.id, kind));
    return {
      kind: "trigger",
      name: triggerName(shape.id, kind),
      sql: `CREATE TRIGGER ${quoted} ${event} BEGIN ${body} END`,
    };
  };
  // The rowid can be changed under its other names without naming the key's column.
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
    // Never fires: SQLite rewrites its list of columns on RENAME, which tells a rename from a drop and an add.
    trigger("columns", `AFTER UPDATE OF ${columns} ON ${name} WHEN 0`, "SELECT 1;"),
  ];
  if (shape.rowidKey) {
    // An index that never holds a row: with it VACUUM leaves the rowids as they are.
    const index = keepIndexName(shape.id);
    const sql = `CREATE INDEX ${quoteIdentifier(index)} ON ${name}((0)) WHERE 0`;
    objects.push({ kind: "index", name: index, sql });
  }
  const lookups = evictionLookups(shape, table);
  if (lookups.length === 0) return objects;
  const bodyOf = (of: readonly EvictionLookup[]): string =>
    of
      .map(
        (l) =>
          `INSERT INTO ${into}(${logKeys}, v) SELECT ${keys.join(", ")}, 1 FROM ${name} WHERE ${l.where};`,
      )
      .join(" ");
  const claimed = [...new Set(lookups.flatMap((l) => l.columns))].map(quoteIdentifier);
  objects.push(trigger("evict_insert", `BEFORE INSERT ON ${name}`, bodyOf(lookups)));
  const updated = evictionLookups(shape, table, "UPDATE");
  // A BEFORE UPDATE trigger is given only the columns that it names, and generated ones are computed from just these.
  const given = lookups.some((l) => l.generated)
    ? `SELECT ${claimed.map((c) => `NEW.${c}`).join(", ")}; `
    : "";
  // A UNIQUE constant names no column.
  const of = claimed.length === 0 ? "" : ` OF ${claimed.join(", ")}`;
  objects.push(trigger("evict_update", `BEFORE UPDATE${of} ON ${name}`, given + bodyOf(updated)));
  return objects;
}
