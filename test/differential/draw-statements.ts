/** Random statements about known tables. Many fail on a constraint, as an application's do. */
import type { Random } from "../../src/base/random.ts";
import { quoteIdentifier as q } from "../../src/sqlite/quote.ts";
import { type Statement, sql } from "./draft.ts";
import type { Features } from "./features.ts";
import type { ColumnInfo, TableInfo, ViewInfo } from "./table.ts";
import { literal, SEARCHED } from "./words.ts";

const POLICIES = [
  "",
  "",
  "",
  " OR REPLACE",
  " OR REPLACE",
  " OR IGNORE",
  " OR FAIL",
  " OR ABORT",
  " OR ROLLBACK",
];

/**
 * The index that SQLite walks depends on the columns that triggers need; without an index, rows come in rowid order.
 * NOT INDEXED has no effect in a table WITHOUT ROWID, whose rows are an index.
 */
export const inOrder = ({ name, withoutRowid }: TableInfo): string =>
  withoutRowid ? ` INDEXED BY ${q(`sqlite_autoindex_${name}_1`)}` : " NOT INDEXED";

export interface StatementOptions {
  /** `recursive_triggers` is on. */
  readonly recursive: boolean;
  /** Only one node writes: ids of AUTOINCREMENT tables may be left to SQLite. */
  readonly alone: boolean;
}

export class StatementDrawer {
  readonly #random: Random;
  readonly #features: Features;
  readonly #options: StatementOptions;

  constructor(random: Random, features: Features, options: StatementOptions) {
    this.#random = random;
    this.#features = features;
    this.#options = options;
  }

  value(table: TableInfo, column: ColumnInfo): string {
    const { oddValues, nulls } = this.#features;
    const isKey = table.key.includes(column.name);
    const random = this.#random;
    if (isKey && table.rowid !== null && table.picks) return String(random.below(6));
    return literal(random, column.kind, {
      nulls: isKey ? 0 : column.defaulted ? 0.5 : column.notNull ? nulls / 4 : nulls,
      oddity: oddValues,
      // A row with NULL and a value of a wrong type at once may be refused for either, and only one can be ignored.
      fits: table.strict,
      bloblessly: this.#features.bloblessly,
    });
  }

  #policy(table: TableInfo): string {
    const policy = this.#random.pick(POLICIES);
    // A row that stays while triggers fail on it may be missing in a full-text index, in plain SQLite, too.
    if (policy === " OR FAIL" && this.#features.anyOrder === true && this.#features.search > 0) return "";
    return policy === " OR REPLACE" && table.searched && !this.#options.recursive ? "" : policy;
  }

  /** The whole key is one that may be there. */
  #isKey(table: TableInfo): string {
    return table.key.map((k) => `${q(k)} = ${this.value(table, column(table, k))}`).join(" AND ");
  }

  insert(table: TableInfo): Statement {
    const random = this.#random;
    const policy = this.#policy(table);
    const head = random.chance(0.1) && policy === " OR REPLACE" ? "REPLACE INTO" : `INSERT${policy} INTO`;
    const picks = table.picks && (!table.autoincrement || this.#options.alone) && random.chance(0.4);
    const mayLeaveOut = random.chance(0.2);
    const columns = table.columns.filter(
      (c) =>
        !c.generated &&
        !(picks && c.name === table.rowid) &&
        !(mayLeaveOut && !table.key.includes(c.name) && random.chance(0.5)),
    );
    const rows = Array.from({ length: random.pick([1, 1, 1, 2, 3]) }, () =>
      columns.map((c) => this.value(table, c)),
    );
    return {
      kind: "insert",
      head,
      table: table.name,
      columns: columns.map((c) => c.name),
      rows,
      tail: policy === "" ? this.#upsert(table) : "",
    };
  }

  #upsert(table: TableInfo): string {
    const random = this.#random;
    if (!random.chance(0.3)) return "";
    const targets = [table.key, ...table.uniques].filter((t) => t.length > 0);
    const target =
      targets.length > 0 && random.chance(0.8) ? `(${random.pick(targets).map(q).join(", ")})` : "";
    const settable = table.columns.filter(
      (c) => !c.generated && (!table.key.includes(c.name) || random.chance(0.2)),
    );
    if (settable.length === 0 || random.chance(0.3)) return ` ON CONFLICT${target} DO NOTHING`;
    const { name } = random.pick(settable);
    const where = random.pick(["", "", ` WHERE excluded.${q(name)} IS NOT ${q(table.name)}.${q(name)}`]);
    return ` ON CONFLICT${target} DO UPDATE SET ${q(name)} = excluded.${q(name)}${where}`;
  }

  update(table: TableInfo): Statement {
    const random = this.#random;
    const writable = table.columns.filter((c) => !c.generated);
    const many = table.key.length === 0 || random.chance(table.ordered ? 0.4 : 0.3);
    const open = table.ordered || !many ? writable : writable.filter((c) => c.free);
    if (open.length === 0) return this.remove(table);
    const chosen = new Set(Array.from({ length: random.pick([1, 1, 2]) }, () => random.pick(open)));
    const sets = [...chosen].map((c): [string, string] => [c.name, this.#newValue(table, c, open)]);
    const policy = table.ordered || !many ? this.#policy(table) : "";
    return {
      kind: "update",
      head: `UPDATE${policy}`,
      table: table.name,
      hint: many ? inOrder(table) : "",
      sets,
      tail: ` WHERE ${many ? this.#some(table) : this.#isKey(table)}`,
    };
  }

  #newValue(table: TableInfo, { name, kind, ...rest }: ColumnInfo, open: readonly ColumnInfo[]): string {
    const random = this.#random;
    const c = q(name);
    const isKey = table.key.includes(name);
    if (kind === "int" && random.chance(0.3)) {
      if (table.picks && isKey) return `${c} + 1`;
      // An integer beyond 64 bits is a REAL, which a STRICT table refuses.
      return random.pick(
        table.strict ? [`~${c}`, `${c} / 2`, `${c} % 5`] : [`${c} + 1`, `-${c}`, `${c} * 2`],
      );
    }
    if (kind === "text" && random.chance(0.25))
      return random.pick([`upper(${c})`, `lower(${c})`, `trim(${c})`]);
    if (random.chance(0.1)) return c;
    if (!isKey && !table.strict && random.chance(0.1)) return q(random.pick(open).name);
    return this.value(table, { name, kind, ...rest });
  }

  /** Several rows. */
  #some(table: TableInfo): string {
    const random = this.#random;
    const c = random.pick(table.columns);
    const v = this.value(table, c);
    return random.pick([
      `${q(c.name)} = ${v}`,
      `${q(c.name)} > ${v}`,
      `${q(c.name)} < ${v}`,
      `${q(c.name)} IS NOT ${v}`,
      `${q(c.name)} IN (${v}, ${this.value(table, c)})`,
      "1",
    ]);
  }

  remove(table: TableInfo): Statement {
    const random = this.#random;
    if (random.chance(0.04)) return sql(`DELETE FROM ${q(table.name)}`);
    if (table.key.length > 0 && random.chance(0.6))
      return sql(`DELETE FROM ${q(table.name)} WHERE ${this.#isKey(table)}`);
    return sql(`DELETE FROM ${q(table.name)}${inOrder(table)} WHERE ${this.#some(table)}`);
  }

  /** Two rows give each other their key, or a UNIQUE value, by way of a third. */
  swap(table: TableInfo): Statement[] {
    const random = this.#random;
    const free = table.uniques.filter((u) => u.length === 1).map(([u]) => u!);
    const single = table.key.length === 1 ? [...free, table.key[0]!] : free;
    if (single.length === 0 || !table.ordered) return [this.update(table)];
    const name = random.pick(single);
    const c = column(table, name);
    const [one, two] = [this.value(table, c), this.value(table, c)];
    const third = c.kind === "int" || c.kind === "real" ? "-33" : "'third'";
    const move = (from: string, to: string): Statement => ({
      ...{ kind: "update", head: "UPDATE", table: table.name, hint: "", sets: [[name, to]] },
      tail: ` WHERE ${q(name)} = ${from}`,
    });
    return [move(one, third), move(two, one), move(third, two)];
  }

  /** Rows of another table. */
  copy(table: TableInfo, from: TableInfo): Statement {
    const random = this.#random;
    const columns = table.columns.filter((c) => !c.generated && !(table.picks && c.name === table.rowid));
    const sources = from.columns.filter((c) => !c.generated);
    const picked = columns.map((c) => {
      const same = sources.filter(
        (s) =>
          s.kind === c.kind &&
          (!table.strict || from.strict) &&
          (!table.key.includes(c.name) || (s.notNull && !(table.rowid === c.name && table.picks))),
      );
      return same.length > 0 && random.chance(0.8) ? q(random.pick(same).name) : this.value(table, c);
    });
    const order = from.key.map((_, i) => i + 1 + picked.length);
    const keys = from.key.map((k) => q(k));
    if (columns.length === 0 || (table.autoincrement && table.picks && !this.#options.alone))
      return this.insert(table);
    // Ordered by the source's key, so that rows come in one order everywhere.
    const inner = [...picked.map((p, i) => `${p} AS c${i}`), ...keys.map((k, i) => `${k} AS o${i}`)].join(
      ", ",
    );
    const list = picked.map((_, i) => `c${i}`).join(", ");
    const sorted = order.map((_, i) => `typeof(o${i}), o${i} COLLATE BINARY`).join(", ");
    return sql(
      `INSERT${this.#policy(table)} INTO ${q(table.name)}(${columns.map((c) => q(c.name)).join(", ")}) ` +
        `SELECT ${list} FROM (SELECT ${inner} FROM ${q(from.name)}) WHERE 1 ORDER BY ${sorted} LIMIT ${random.between(1, 5)}`,
    );
  }

  view(view: ViewInfo, table: TableInfo): Statement {
    const random = this.#random;
    if (!view.writable || random.chance(0.3))
      return sql(`SELECT count(*), max(typeof(${q(view.columns[0]!.name)})) FROM ${q(view.name)}`);
    if (random.chance(0.3)) {
      const [first] = view.columns;
      return sql(`DELETE FROM ${q(view.name)} WHERE ${q(first!.name)} = ${this.value(table, first!)}`);
    }
    return {
      kind: "insert",
      head: "INSERT INTO",
      table: view.name,
      columns: view.columns.map((c) => c.name),
      rows: [view.columns.map((c) => this.value(table, c))],
      tail: "",
    };
  }

  search(name: string): Statement {
    return sql(
      `SELECT rowid FROM ${q(name)} WHERE ${q(name)} MATCH '"${this.#random.pick(SEARCHED)}"' ORDER BY rowid`,
    );
  }

  any(tables: readonly TableInfo[]): Statement[] {
    const random = this.#random;
    const table = random.pick(tables);
    switch (random.below(10)) {
      case 0:
      case 1:
      case 2:
      case 3:
        return [this.insert(table)];
      case 4:
      case 5:
      case 6:
        return [this.update(table)];
      case 7:
        return this.swap(table);
      case 8: {
        const from = random.pick(tables);
        return [from.key.length === 0 ? this.insert(table) : this.copy(table, from)];
      }
      default:
        return [this.remove(table)];
    }
  }
}

const column = (table: TableInfo, name: string): ColumnInfo => table.columns.find((c) => c.name === name)!;
