/**
 * Triggers, views and full-text indexes over tables. Triggers write only tables further down the list, so that they
 * end. On a table whose rows have no defined order they do nothing that depends on the order.
 */
import type { Random } from "../../src/base/random.ts";
import { quoteIdentifier as q, quoteText } from "../../src/sqlite/quote.ts";
import type { Features } from "./features.ts";
import type { TableInfo, ViewInfo } from "./table.ts";
import { type Kind, literal, type Names } from "./words.ts";

export const TALLY = "tally";
export const AUDIT = "audit";

/** What every trigger can write: a sum, in which each effect counts once, and a list, in which the order counts, too. */
export const SUPPORT = [
  `CREATE TABLE ${TALLY}(id INTEGER PRIMARY KEY, n INT NOT NULL DEFAULT 0)`,
  `CREATE TABLE ${AUDIT}(id INTEGER PRIMARY KEY, what TEXT, k, n INT)`,
  `INSERT INTO ${TALLY} VALUES(0, 0), (1, 0), (2, 0)`,
];

const EVENTS = ["INSERT", "UPDATE", "DELETE"] as const;

/** `later`: tables that it may write. */
export function drawTrigger(
  random: Random,
  features: Features,
  names: Names,
  table: TableInfo,
  later: readonly TableInfo[],
): { name: string; sql: string } {
  const event = random.pick(EVENTS);
  const row = event === "DELETE" || (event === "UPDATE" && random.chance(0.3)) ? "OLD" : "NEW";
  const time = random.chance(0.75) ? "AFTER" : "BEFORE";
  // SQLite computes NEW's generated columns from those columns alone that some BEFORE UPDATE trigger names.
  const isWrong = event === "UPDATE" && time === "BEFORE" && row === "NEW";
  const seen = table.columns.filter((c) => !isWrong || !c.generated);
  const readable = seen.map((c) => `${row}.${q(c.name)}`);
  const value = (): string => (random.chance(0.8) ? random.pick(readable) : "1");
  const when = random.chance(0.35)
    ? ` WHEN ${value()} ${random.pick(["IS NOT NULL", "> 1", "IS NOT 'a'", "<> 2"])}`
    : "";
  const columns = table.columns.filter((c) => !c.generated);
  const of = event === "UPDATE" && random.chance(0.4) ? ` OF ${q(random.pick(columns).name)}` : "";
  const name = names.next("t_");
  const head = `CREATE TRIGGER ${q(name)} ${time} ${event}${of} ON ${q(table.name)} FOR EACH ROW${when} BEGIN `;
  const bodies: string[] = [];
  for (let i = random.pick([1, 1, 2]); i > 0; i--)
    bodies.push(`${drawBody(random, features, { table, later, value })};`);
  return { name, sql: `${head}${bodies.join(" ")} END` };
}

interface Body {
  readonly table: TableInfo;
  readonly later: readonly TableInfo[];
  /** Something of the row, mostly. */
  readonly value: () => string;
}

function drawBody(random: Random, features: Features, { table, later, value }: Body): string {
  const PLAIN = { nulls: 0, oddity: 0, bloblessly: features.bloblessly };
  const count = `UPDATE ${TALLY} SET n = n + 1 WHERE id = ${random.below(3)}`;
  if (random.chance(0.12)) {
    const test = `${value()} ${random.pick(["= 4", "IS 'c'", "IS NULL", "> 4"])}`;
    const action = random.pick([
      "IGNORE",
      "IGNORE",
      "ABORT, 'not this one'",
      "FAIL, 'no'",
      "ROLLBACK, 'nothing of it'",
    ]);
    // Of a cascade it leaves the parent's change before any trigger of the parent has seen it.
    if (features.references > 0 && action.startsWith("FAIL")) return count;
    // A row that stays while the index's triggers are left out breaks the index, in plain SQLite, too.
    if (features.anyOrder === true && features.search > 0 && /^(?:IGNORE|FAIL)/.test(action)) return count;
    // FAIL keeps the changes to earlier rows, in the order of rows; in a searched table also a row without its index
    // entry.
    const leaves = action.startsWith("FAIL") || (table.searched && action === "IGNORE");
    if ((table.ordered && !table.searched) || !leaves) return `SELECT RAISE(${action}) WHERE ${test}`;
  }
  if (!table.ordered || random.chance(0.25)) return count;
  if (random.chance(0.3))
    return `INSERT INTO ${AUDIT}(what, k, n) VALUES(${quoteText(table.name.slice(0, 3))}, ${value()}, (SELECT count(*) FROM ${q(table.name)}))`;
  // Of a searched table REPLACE, which a trigger may be told from outside, would leave rows in the index.
  const targets = later.filter((t) => t.key.length > 0 && !t.nullableKey && !t.picks && !t.searched);
  if (targets.length === 0) return count;
  const target = random.pick(targets);
  const [first] = target.key;
  /** Whatever it is; into a STRICT table only what fits, for which of two problems is found first depends on triggers. */
  const given = (kind: Kind): string =>
    target.strict && kind !== "any" ? literal(random, kind, PLAIN) : value();
  const whole = target.key
    .map(
      (k, i) =>
        `${q(k)} = ${i === 0 ? value() : literal(random, target.columns.find((c) => c.name === k)!.kind, PLAIN)}`,
    )
    .join(" AND ");
  const free = target.columns.filter((c) => !c.generated && !target.key.includes(c.name));
  switch (random.below(4)) {
    case 0: {
      const filled = [...target.key, ...free.slice(0, 3).map((c) => c.name)];
      const values = filled.map((c) => {
        const { kind, notNull } = target.columns.find((x) => x.name === c)!;
        if (target.key.includes(c))
          return c === first ? `coalesce(${given(kind)}, 3)` : literal(random, kind, PLAIN);
        return notNull || random.chance(0.5) ? literal(random, kind, PLAIN) : given(kind);
      });
      const policy = random.pick(["OR IGNORE", "OR REPLACE", "", "", ""]);
      return `${words(["INSERT", policy, "INTO"])} ${q(target.name)}(${filled.map(q).join(", ")}) VALUES(${values.join(", ")})${policy === "" ? upsert(random, target) : ""}`;
    }
    case 1: {
      if (free.length === 0) return count;
      const column = random.pick(free);
      const to =
        column.kind === "int"
          ? `${q(column.name)} + 1`
          : column.notNull
            ? literal(random, column.kind, PLAIN)
            : given(column.kind);
      return `UPDATE ${random.pick(["", "OR IGNORE "])}${q(target.name)} SET ${q(column.name)} = ${to} WHERE ${whole}`;
    }
    default:
      if (target.ordered && random.chance(0.5))
        return `DELETE FROM ${q(target.name)} WHERE +${q(first!)} = ${value()}`;
      return `DELETE FROM ${q(target.name)} WHERE ${whole}`;
  }
}

const words = (parts: readonly string[]): string => parts.filter((p) => p !== "").join(" ");

export interface DrawnView {
  readonly info: ViewInfo;
  readonly sql: readonly string[];
}

/** A view, perhaps with triggers instead of writes. */
export function drawView(random: Random, names: Names, tables: readonly TableInfo[]): DrawnView {
  const table = random.pick(tables);
  const name = names.next("v_");
  const columns = table.columns.filter((c) => !c.generated).slice(0, 4);
  const list = columns.map((c) => q(c.name)).join(", ");
  const where = random.pick(["", ` WHERE ${q(columns[0]!.name)} IS NOT NULL`]);
  const sql = [`CREATE VIEW ${q(name)} AS SELECT ${list} FROM ${q(table.name)}${where}`];
  const writable =
    table.key.length > 0 &&
    table.ordered &&
    !table.picks &&
    table.key.every((k) => columns.some((c) => c.name === k)) &&
    random.chance(0.6);
  if (writable) {
    const key = table.key.map((k) => `${q(k)} = OLD.${q(k)}`).join(" AND ");
    const policy = table.searched ? "OR IGNORE" : random.pick(["", "OR REPLACE", "OR IGNORE"]);
    sql.push(
      `CREATE TRIGGER ${q(names.next("t_"))} INSTEAD OF INSERT ON ${q(name)} BEGIN ` +
        `${words(["INSERT", policy, "INTO"])} ${q(table.name)}(${list}) VALUES(${columns.map((c) => `NEW.${q(c.name)}`).join(", ")}); END`,
      `CREATE TRIGGER ${q(names.next("t_"))} INSTEAD OF DELETE ON ${q(name)} BEGIN DELETE FROM ${q(table.name)} WHERE ${key}; UPDATE ${TALLY} SET n = n + 1; END`,
    );
  }
  return { info: { name, columns, writable }, sql };
}

/** What an INSERT of a trigger does with a row that is there, or nothing. */
function upsert(random: Random, target: TableInfo): string {
  if (random.chance(0.2)) return "";
  const on = `ON CONFLICT(${random
    .pick([target.key, ...target.uniques])
    .map(q)
    .join(", ")})`;
  const settable = target.columns.filter((c) => !c.generated && !target.key.includes(c.name));
  if (settable.length === 0 || random.chance(0.3)) return ` ${on} DO NOTHING`;
  const { name } = random.pick(settable);
  return ` ${on} DO UPDATE SET ${q(name)} = excluded.${q(name)}`;
}

export interface DrawnSearch {
  readonly name: string;
  readonly sql: readonly string[];
}

/** A full-text index with a table's rows, kept by the three triggers of the documentation. */
export function drawSearch(random: Random, names: Names, table: TableInfo): DrawnSearch | null {
  const columns = table.columns
    .filter(
      (c) =>
        !c.generated && c.kind === "text" && !/^(?:rank|rowid)$/i.test(c.name) && !table.key.includes(c.name),
    )
    .slice(0, 3);
  if (table.rowid === null || columns.length === 0) return null;
  const name = names.next("s_");
  const list = columns.map((c) => q(c.name)).join(", ");
  const rowid = q(table.rowid);
  const tokenizer = random.pick([
    "",
    `, tokenize = 'porter'`,
    `, tokenize = 'trigram'`,
    `, tokenize = "unicode61 remove_diacritics 2"`,
    `, prefix = '1 2'`,
  ]);
  const add = `INSERT INTO ${q(name)}(rowid, ${list}) VALUES(NEW.${rowid}, ${columns.map((c) => `NEW.${q(c.name)}`).join(", ")});`;
  const remove = `INSERT INTO ${q(name)}(${q(name)}, rowid, ${list}) VALUES('delete', OLD.${rowid}, ${columns.map((c) => `OLD.${q(c.name)}`).join(", ")});`;
  const trigger = (event: string, body: string): string =>
    `CREATE TRIGGER ${q(names.next("t_"))} AFTER ${event} ON ${q(table.name)} BEGIN ${body} END`;
  return {
    name,
    sql: [
      `CREATE VIRTUAL TABLE ${q(name)} USING fts5(${list}, content = ${quoteText(table.name)}, content_rowid = ${quoteText(table.rowid)}${tokenizer})`,
      trigger("INSERT", add),
      trigger("DELETE", remove),
      trigger("UPDATE", `${remove} ${add}`),
    ],
  };
}
