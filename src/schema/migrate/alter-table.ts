/** Brings kept tables to their new text: in place where no row has to be written, else by a copy of their rows. */
import { foldName } from "../../base/names.ts";
import { queryOf } from "../../sqlite/query.ts";
import { quoteIdentifier } from "../../sqlite/quote.ts";
import { readTable } from "../../sqlite/schema.ts";
import { withStandIns } from "../../sqlite/functions/stand-ins.ts";
import { type AlterPlan, planAlter, renamedText } from "../diff/alter-plan.ts";
import { copyRows } from "./copy-rows.ts";
import type { Indexes } from "./indexes.ts";
import { isRefusal, type KeptTable, type Migration } from "./migration.ts";

export type AlterResult = "renamed" | "altered" | "rebuilt";

export class AlteredTables {
  readonly #migration: Migration;
  readonly #indexes: Indexes;

  constructor(migration: Migration, indexes: Indexes) {
    this.#migration = migration;
    this.#indexes = indexes;
  }

  /** The tables have their new names, and the columns that they had. */
  alter<T extends KeptTable>(kept: readonly T[]): Map<T, AlterResult> {
    const { isAppDb, file } = this.#migration;
    const foreignKeys = isAppDb ? [] : kept.map(({ to }) => this.#foreignKeys(to));
    const methods = new Map(kept.map((table) => [table, this.#alter(table)]));
    file.reload();
    // A replica names its indexes for foreign keys by the key's number.
    foreignKeys.forEach((before, i) => {
      const { to } = kept[i]!;
      if (this.#foreignKeys(to) !== before) this.#migration.dropOwnOf(to);
    });
    return methods;
  }

  #alter(table: KeptTable): AlterResult {
    const { from, to, columns } = table;
    const wanted = this.#migration.tables.get(foldName(to))!.sql;
    const isIdentity = columns.every(([c, before]) => c === before);
    const text = this.#migration.file.text("table", to)!;
    if (text === wanted && isIdentity) return from === to ? "altered" : "renamed";
    const plan = planAlter(to, text, wanted, columns);
    if (plan.method === "rebuild" || !this.#alterInPlace(to, wanted, plan)) {
      this.#rebuild(table, wanted);
      return "rebuilt";
    }
    return plan.statements.length === 0 && renamedText(text, to) === renamedText(wanted, to)
      ? "renamed"
      : "altered";
  }

  /** False: a row violates the new text, and nothing was changed. */
  #alterInPlace(name: string, wanted: string, { statements, newNotNull }: AlterPlan): boolean {
    const { db, file } = this.#migration;
    const table = `main.${quoteIdentifier(name)}`;
    const isNull = newNotNull.map((c) => `${quoteIdentifier(c)} IS NULL`).join(" OR ");
    if (statements.length > 0 || isNull !== "") {
      file.reload();
      file.forget();
      db.exec("SAVEPOINT alter_in_place");
      let isDone = false;
      try {
        if (statements.some((sql) => sql.includes(" DROP COLUMN "))) this.#indexes.dropChangedOf(name);
        for (const sql of statements) withStandIns(db, () => db.exec(sql));
        isDone = isNull === "" || queryOf(db)(`SELECT 1 FROM ${table} WHERE ${isNull} LIMIT 1`).length === 0;
      } catch (error) {
        if (!isRefusal(error)) throw error;
      }
      file.forget();
      db.exec(`${isDone ? "" : "ROLLBACK TO alter_in_place; "}RELEASE alter_in_place`);
      if (!isDone) return false;
    }
    if (file.text("table", name) !== wanted) file.setText("table", name, wanted);
    return true;
  }

  /** The referencing columns, in the order of declaration. */
  #foreignKeys(table: string): string {
    const sql = `SELECT f.id, f.seq, c.cid FROM pragma_foreign_key_list(?1) f JOIN pragma_table_info(?1) c ON c.name = f."from" ORDER BY 1, 2`;
    return JSON.stringify(queryOf(this.#migration.db)(sql, table));
  }

  #rebuild({ from, to, columns }: KeptTable, wanted: string): void {
    const { db, file } = this.#migration;
    file.reload();
    const aside = file.freeName();
    const quoted = quoteIdentifier(aside);
    file.exec(`ALTER TABLE main.${quoteIdentifier(to)} RENAME TO ${quoted}`);
    file.forget();
    file.create({ ...this.#migration.tables.get(foldName(to))!, sql: wanted });
    file.reload();
    const old = this.#migration.rowsOf(aside, from, to);
    try {
      copyRows(db, old, to, columns);
    } catch (error) {
      throw file.failed(wanted, error);
    }
    this.#migration.countRejects(to, old);
    if (readTable(queryOf(db), to).autoincrement) this.#keepSequence(aside, to);
    file.exec(`DROP TABLE main.${quoted}`);
  }

  /** Keeps the highest id that was ever given, even if its row was deleted. */
  #keepSequence(from: string, to: string): void {
    const { db } = this.#migration;
    const before = "SELECT seq FROM main.sqlite_sequence WHERE name = ?1 AND typeof(seq) = 'integer'";
    const raise = db.prepare(
      `UPDATE main.sqlite_sequence SET seq = max(seq, coalesce((${before}), seq)) WHERE name = ?2`,
    );
    if (Number(raise.run(from, to).changes) > 0) return;
    db.prepare(`INSERT INTO main.sqlite_sequence(name, seq) SELECT ?2, seq FROM (${before})`).run(from, to);
  }
}
