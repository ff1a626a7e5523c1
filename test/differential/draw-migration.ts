/**
 * Random schema changes: single statements, and rebuilds of tables as ORMs do them. A change with an obstacle is not
 * drawn.
 */
import type { Random } from "../../src/base/random.ts";
import { quoteIdentifier as q } from "../../src/sqlite/quote.ts";
import { renderPart, type Statement, sql, type TablePart } from "./draft.ts";
import { drawColumn, indexTerm } from "./draw-table.ts";
import { drawTrigger, drawView } from "./draw-triggers.ts";
import { inOrder } from "./draw-statements.ts";
import type { Features } from "./features.ts";
import { addTable, type DrawnTableInfo, type Schema, type SchemaObject } from "./schema.ts";
import type { ColumnInfo } from "./table.ts";
import { Names } from "./words.ts";

/** Statements of one migration; the schema is as after it. `write`: statements about rows, to stand beside it. */
export function drawMigration(
  random: Random,
  features: Features,
  schema: Schema,
  write: () => Statement[],
): Statement[] {
  const transaction = random.chance(0.5);
  const out: Statement[] = [];
  for (let i = random.pick([1, 1, 1, 2, 3]); i > 0; i--) {
    if (random.chance(0.2)) out.push(...write());
    out.push(...new Migration(random, features, schema).any());
    if (random.chance(0.3)) out.push(...write());
  }
  if (random.chance(0.2)) out.push(sql(`PRAGMA user_version = ${random.below(100)}`));
  return transaction ? [sql(random.pick(["BEGIN", "BEGIN IMMEDIATE"])), ...out, sql("COMMIT")] : out;
}

class Migration {
  readonly #random: Random;
  readonly #features: Features;
  readonly #schema: Schema;

  constructor(random: Random, features: Features, schema: Schema) {
    this.#random = random;
    this.#features = features;
    this.#schema = schema;
  }

  any(): Statement[] {
    const random = this.#random;
    const { tables } = this.#schema;
    if (tables.length === 0) return this.#createTable();
    const table = random.pick(tables);
    switch (random.below(15)) {
      case 0:
      case 1:
        return this.#createTable();
      case 2:
        return this.#dropTable(table);
      case 3:
      case 4:
        return this.#addColumn(table);
      case 5:
        return this.#dropColumn(table);
      case 6:
        return this.#renameColumn(table);
      case 7:
        return this.#renameTable(table);
      case 8:
        return this.#createIndex(table);
      case 9:
        return this.#dropObject("index");
      case 10:
        return this.#trigger(table);
      case 11:
        return this.#view(table);
      case 12:
      case 13:
        return this.#makeUnique(table);
      default:
        return this.#rebuild(table);
    }
  }

  /** Whether anything beside the table and its own indexes says its name. */
  #isNamed(table: DrawnTableInfo): boolean {
    const { tables, objects } = this.#schema;
    const name = q(table.name);
    return (
      table.searched ||
      tables.some((t) => t !== table && renderPart(t.part).includes(name)) ||
      objects.some((o) => o.kind !== "index" && o.table !== table.name && o.sql.includes(name)) ||
      objects.some((o) => o.kind === "view" && o.sql.includes(name))
    );
  }

  #replace(table: DrawnTableInfo, next: DrawnTableInfo): void {
    this.#schema.tables[this.#schema.tables.indexOf(table)] = next;
  }

  #forget(keep: (object: SchemaObject) => boolean): void {
    const { objects } = this.#schema;
    objects.splice(0, objects.length, ...objects.filter(keep));
  }

  #createTable(): Statement[] {
    if (this.#schema.tables.length > 6) return [];
    return addTable(this.#random, this.#features, this.#schema, false).map((part) => sql(renderPart(part)));
  }

  #dropTable(table: DrawnTableInfo): Statement[] {
    const { tables, targets } = this.#schema;
    if (this.#isNamed(table)) return [];
    tables.splice(tables.indexOf(table), 1);
    targets.splice(0, targets.length, ...targets.filter((t) => t.table !== table.name));
    this.#forget((o) => o.table !== table.name);
    return [sql(`DROP TABLE ${q(table.name)}`)];
  }

  #addColumn(table: DrawnTableInfo): Statement[] {
    const random = this.#random;
    const names = new Names(
      random,
      this.#features.oddNames,
      table.columns.map((c) => c.name),
    );
    const { column, info } = drawColumn(random, this.#features, names, table.strict);
    // NOT NULL needs a default, a default must be no expression, and a rowid's other name may be in use.
    if (/NOT NULL|DEFAULT \(/.test(column.text) || /^(?:rowid|oid|_rowid_)$/i.test(column.name)) return [];
    const part = { ...table.part, columns: [...table.part.columns, column] };
    this.#replace(table, { ...table, part, columns: [...table.columns, info] });
    return [sql(`ALTER TABLE ${q(table.name)} ADD COLUMN ${q(column.name)} ${column.text}`)];
  }

  /** A column that nothing depends on. */
  #loose(table: DrawnTableInfo): string | null {
    const random = this.#random;
    const { objects } = this.#schema;
    const used = (name: string): boolean =>
      objects.some((o) => o.sql.includes(q(name))) ||
      table.part.constraints.some((c) => c.text.includes(q(name))) ||
      table.part.columns.some((c) => c.text.includes(q(name)));
    const loose = table.columns.filter((c) => c.free && !c.generated && !used(c.name));
    return table.searched || loose.length === 0 || table.columns.length < 3 ? null : random.pick(loose).name;
  }

  #dropColumn(table: DrawnTableInfo): Statement[] {
    const name = this.#loose(table);
    if (name === null) return [];
    const part = { ...table.part, columns: table.part.columns.filter((c) => c.name !== name) };
    this.#replace(table, { ...table, part, columns: table.columns.filter((c) => c.name !== name) });
    return [sql(`ALTER TABLE ${q(table.name)} DROP COLUMN ${q(name)}`)];
  }

  #renameColumn(table: DrawnTableInfo): Statement[] {
    const random = this.#random;
    const { views, objects } = this.#schema;
    // References by name in other tables, or in text that SQLite rewrites differently, are not followed.
    if (table.searched || this.#isNamed(table) || views.some((v) => v.table === table.name)) return [];
    const { name } = random.pick(table.columns);
    if (objects.some((o) => o.table === table.name && o.sql.includes(q(name)))) return [];
    if (table.part.constraints.some((c) => /REFERENCES/.test(c.text) && c.text.includes(q(name)))) return [];
    const to = new Names(
      random,
      this.#features.oddNames,
      table.columns.map((c) => c.name),
    ).next();
    const renamed = (column: string): string => (column === name ? to : column);
    const retext = (text: string): string => text.replaceAll(q(name), q(to));
    const part: TablePart = {
      ...table.part,
      columns: table.part.columns.map((c) => ({
        name: renamed(c.name),
        text: retext(c.text),
        columns: c.columns.map(renamed),
      })),
      constraints: table.part.constraints.map((c) => ({
        text: retext(c.text),
        columns: c.columns.map(renamed),
      })),
    };
    this.#replace(table, {
      ...table,
      part,
      columns: table.columns.map((c) => ({ ...c, name: renamed(c.name) })),
      key: table.key.map(renamed),
      rowid: table.rowid === null ? null : renamed(table.rowid),
      uniques: table.uniques.map((u) => u.map(renamed)),
    });
    const { targets } = this.#schema;
    targets.splice(0, targets.length, ...targets.filter((t) => t.table !== table.name));
    return [sql(`ALTER TABLE ${q(table.name)} RENAME COLUMN ${q(name)} TO ${q(to)}`)];
  }

  #renameTable(table: DrawnTableInfo): Statement[] {
    const { targets } = this.#schema;
    if (
      this.#isNamed(table) ||
      table.part.constraints.some((c) => c.text.includes(`REFERENCES ${q(table.name)}`))
    )
      return [];
    const to = this.#schema.names.next();
    this.#replace(table, { ...table, name: to, part: { ...table.part, name: to } });
    const { objects } = this.#schema;
    const moved = objects.map((o) =>
      o.table === table.name ? { ...o, table: to, sql: o.sql.replaceAll(q(table.name), q(to)) } : o,
    );
    objects.splice(0, objects.length, ...moved);
    targets.splice(0, targets.length, ...targets.filter((t) => t.table !== table.name));
    return [sql(`ALTER TABLE ${q(table.name)} RENAME TO ${q(to)}`)];
  }

  #createIndex(table: DrawnTableInfo): Statement[] {
    const random = this.#random;
    const open = table.columns.filter((c) => !(table.picks && c.name === table.rowid));
    if (open.length === 0) return [];
    const used = random.pick(open).name;
    const name = this.#schema.names.next("i_");
    // A UNIQUE index that rows contradict is refused; most cases would be.
    const unique = random.chance(0.3) ? "UNIQUE " : "";
    const text = `CREATE ${unique}INDEX ${q(name)} ON ${q(table.name)}(${indexTerm(random, used, this.#features.expressions)})`;
    this.#schema.objects.push({ kind: "index", name, table: table.name, sql: text });
    this.#replace(table, {
      ...table,
      columns: table.columns.map((c) => (c.name === used ? { ...c, free: false } : c)),
    });
    return [sql(text)];
  }

  /** A column that is to be UNIQUE, and the rows that keep their value then; null: none can be told. */
  #kept(table: DrawnTableInfo): { column: ColumnInfo; rows: string } | null {
    const random = this.#random;
    const [key] = table.key;
    const open = table.columns.filter((c) => !c.generated && c.name !== key);
    if (key === undefined || table.key.length > 1 || table.nullableKey || table.searched) return null;
    const column = open.length === 0 ? null : random.pick(open);
    if (column === null || table.uniques.some((u) => u.length === 1 && u[0] === column.name)) return null;
    const first = `SELECT ${random.pick(["min", "max"])}(${q(key)}) FROM ${q(table.name)} GROUP BY ${q(column.name)}`;
    return { column, rows: `${q(key)} IN (${first})` };
  }

  /** Duplicates go, or lose their value; then the index comes. */
  #makeUnique(table: DrawnTableInfo): Statement[] {
    const random = this.#random;
    const kept = this.#kept(table);
    if (kept === null) return [];
    const { column, rows } = kept;
    const at = `${q(table.name)}${inOrder(table)}`;
    const others = ` WHERE NOT ${rows}`;
    const name = this.#schema.names.next("i_");
    const index = `CREATE UNIQUE INDEX ${q(name)} ON ${q(table.name)}(${q(column.name)})`;
    this.#schema.objects.push({ kind: "index", name, table: table.name, sql: index });
    this.#replace(table, this.#withUnique(table, column.name));
    const empties = !column.notNull && table.ordered && random.chance(0.4);
    return [
      sql(empties ? `UPDATE ${at} SET ${q(column.name)} = NULL${others}` : `DELETE FROM ${at}${others}`),
      sql(index),
    ];
  }

  #withUnique(table: DrawnTableInfo, column: string): DrawnTableInfo {
    return {
      ...table,
      columns: table.columns.map((c) => (c.name === column ? { ...c, free: false } : c)),
      uniques: [...table.uniques, [column]],
    };
  }

  #dropObject(kind: "index" | "trigger"): Statement[] {
    const { tables, objects } = this.#schema;
    // A trigger's upsert cannot do without the UNIQUE index that it names.
    const isNeeded = (o: SchemaObject): boolean =>
      o.kind === "index" &&
      objects.some(
        (t) => t.kind === "trigger" && t.sql.includes(`INTO ${q(o.table)}(`) && / ON CONFLICT\(/.test(t.sql),
      );
    const found = objects.filter((o) => o.kind === kind && !isNeeded(o));
    if (found.length === 0) return [];
    const object = this.#random.pick(found);
    this.#forget((o) => o !== object);
    const table = tables.find((t) => t.name === object.table);
    if (kind === "index" && table !== undefined) {
      const declared = (columns: readonly string[]): boolean =>
        table.part.constraints.some((c) => c.text.startsWith(`UNIQUE(${columns.map(q).join(", ")})`));
      this.#replace(table, { ...table, uniques: table.uniques.filter(declared) });
    }
    return [sql(`DROP ${kind.toUpperCase()} ${q(object.name)}`)];
  }

  #trigger(table: DrawnTableInfo): Statement[] {
    if (this.#random.chance(0.4)) return this.#dropObject("trigger");
    const { tables, names, objects } = this.#schema;
    const later = tables.slice(tables.indexOf(table) + 1);
    const trigger = drawTrigger(this.#random, this.#features, names, table, later);
    objects.push({ kind: "trigger", table: table.name, ...trigger });
    return [sql(trigger.sql)];
  }

  #view(table: DrawnTableInfo): Statement[] {
    const { views, names, objects } = this.#schema;
    const last = views.at(-1);
    if (last !== undefined && this.#random.chance(0.5)) {
      views.pop();
      this.#forget((o) => !(o.kind === "view" && o.sql.includes(q(last.view.name))));
      return [sql(`DROP VIEW ${q(last.view.name)}`)];
    }
    const view = drawView(this.#random, names, [table]);
    views.push({ view: view.info, table: table.name });
    objects.push(
      ...view.sql.map((text) => ({ kind: "view" as const, name: "", table: table.name, sql: text })),
    );
    return view.sql.map(sql);
  }

  /**
   * Create, copy, drop, rename, then indexes and triggers, as https://www.sqlite.org/lang_altertable.html#otheralter
   * says.
   */
  #rebuild(table: DrawnTableInfo): Statement[] {
    if (this.#isNamed(table) || table.part.constraints.some((c) => c.text.includes("REFERENCES"))) return [];
    const { objects } = this.#schema;
    const fresh = this.#schema.names.next("new_");
    const columns = table.columns.filter((c) => !c.generated).map((c) => q(c.name));
    const again = objects.filter((o) => o.table === table.name && o.kind !== "view");
    const kept = this.#random.chance(0.5) ? this.#kept(table) : null;
    let { part } = table;
    if (kept !== null) {
      const unique = { text: `UNIQUE(${q(kept.column.name)})`, columns: [kept.column.name] };
      part = { ...part, constraints: [...part.constraints, unique] };
      this.#replace(table, this.#withUnique({ ...table, part }, kept.column.name));
    }
    return [
      sql(renderPart({ ...part, name: fresh })),
      sql(
        `INSERT INTO ${q(fresh)}(${columns.join(", ")}) SELECT ${columns.join(", ")} FROM ${q(table.name)}${kept === null ? "" : ` WHERE ${kept.rows}`}`,
      ),
      sql(`DROP TABLE ${q(table.name)}`),
      sql(`ALTER TABLE ${q(fresh)} RENAME TO ${q(table.name)}`),
      ...again.map((o) => sql(o.sql)),
    ];
  }
}
