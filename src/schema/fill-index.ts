/**
 * Fills indexes that a node keeps for itself. One with external content is rebuilt by SQLite. Any other one gets the rows
 * that the application's own INSERT triggers write into it, as if all rows of their tables were inserted now.
 */
import { foldName } from "../base/names.ts";
import { mentions } from "../sqlite/ddl-text/index-text.ts";
import { afterInsert } from "../sqlite/ddl-text/table-text.ts";
import { quoteIdentifier } from "../sqlite/quote.ts";
import type { SchemaObject } from "../sqlite/schema.ts";
import { type DerivedIndex, derivedIndexOf } from "./search-index.ts";

interface Filler {
  /** The table whose inserts fire it. */
  readonly table: string;
  /** The trigger's text after the name of the table. */
  readonly rest: string;
}

/** The INSERT triggers that write the index. */
export function fillersOf(objects: readonly SchemaObject[], index: string): Filler[] {
  return objects.flatMap((object) => {
    if (object.kind !== "trigger" || !mentions(object.sql, index)) return [];
    const insert = afterInsert(object.sql);
    return insert === null ? [] : [insert];
  });
}

/** Names of the indexes whose content is in a table of `written` (names in lower case), or in a view, which may show any of them. */
export function indexesOver(objects: readonly SchemaObject[], written: ReadonlySet<string>): string[] {
  if (written.size === 0) return [];
  const views = new Set(objects.flatMap((o) => (o.kind === "view" ? [foldName(o.name)] : [])));
  return objects.flatMap((object) => {
    const index = derivedIndexOf(object);
    if (index === null) return [];
    const sources =
      index.kind === "external" ? [index.content] : fillersOf(objects, index.name).map(({ table }) => table);
    return sources.some((name) => written.has(foldName(name)) || views.has(foldName(name)))
      ? [index.name]
      : [];
  });
}

const SOURCE = "temp.__marmot__source";

/** `objects`: the schema that the database has. The index may have rows; afterwards it has those of its content. */
export function fillIndex(
  exec: (sql: string) => void,
  { name, kind }: DerivedIndex,
  objects: readonly SchemaObject[],
): void {
  const quoted = `main.${quoteIdentifier(name)}`;
  const command = (word: string): void =>
    exec(`INSERT INTO ${quoted}(${quoteIdentifier(name)}) VALUES('${word}')`);
  if (kind === "external") {
    command("rebuild");
    return;
  }
  const fillers = fillersOf(objects, name);
  if (fillers.length === 0) return;
  if (kind === "contentless") command("delete-all");
  else exec(`DELETE FROM ${quoted}`);
  for (const { table, rest } of fillers) fire(exec, table, rest, objects);
}

/** Runs the trigger's program for every row of the table: as INSTEAD OF trigger of a view of it. */
function fire(
  exec: (sql: string) => void,
  table: string,
  rest: string,
  objects: readonly SchemaObject[],
): void {
  const { sql } = objects.find((o) => o.kind === "table" && foldName(o.name) === foldName(table))!;
  const source = `main.${quoteIdentifier(table)}`;
  // NEW.rowid of a view is a column of it.
  const rowid = /\bWITHOUT\s+ROWID\b[^)]*$/i.test(sql) || mentions(sql, "rowid") ? "" : "rowid AS rowid, ";
  exec(`CREATE TEMP VIEW ${SOURCE.slice(5)} AS SELECT ${rowid}* FROM ${source}`);
  try {
    exec(`CREATE TEMP TRIGGER __marmot__fill INSTEAD OF INSERT ON ${SOURCE.slice(5)} ${rest}`);
    exec(`INSERT INTO ${SOURCE} SELECT * FROM ${SOURCE}`);
  } finally {
    exec(`DROP VIEW ${SOURCE}`);
  }
}
