/** Two concurrent random migrations of one file: each is once the first, and the other is rebased on it. */
import { copyFileSync } from "node:fs";
import type { DatabaseSync } from "node:sqlite";
import { Random } from "../../../src/base/random.ts";
import type { SchemaChange, SchemaState } from "../../../src/schema/diff/change.ts";
import { compareCatalogues, readRecorders, tablesOf } from "../../../src/schema/diff/diff.ts";
import { changeCatalogue, followTables, sameSchema } from "../../../src/schema/diff/evolve.ts";
import { type Rebased, rebaseChanges } from "../../../src/schema/rebase/rebase.ts";
import { queryOf } from "../../../src/sqlite/query.ts";
import { apply, capture, check, inFolder, integrity, open, stateOf } from "../migrate/cases.ts";
import { attempt, Generator } from "../migrate/generator.ts";

function migrate(db: DatabaseSync, gen: Generator): string[] {
  const log: string[] = [];
  const steps = gen.int(6);
  for (let i = 0; i < steps; i++)
    for (const sql of gen.statements(db, gen.int(17))) if (attempt(db, sql)) log.push(sql);
  return log;
}

export function runRebaseCase(seed: number): void {
  inFolder((path) => {
    const gen = new Generator(new Random(seed));
    const built = open(path("base.db"));
    gen.build(built);
    const names = capture(built);
    const base = stateOf(built);
    built.close();
    const side = (name: string): { log: string[]; changes: SchemaChange[]; state: SchemaState } => {
      copyFileSync(path("base.db"), path(name));
      const db = open(path(name));
      const log = migrate(db, gen);
      const state = stateOf(db);
      const changes = compareCatalogues(base, state, readRecorders(queryOf(db), names));
      db.close();
      return { log, changes, state };
    };
    const [a, b] = [side("a.db"), side("b.db")];
    for (const [first, second, firstFile, secondFile] of [
      [a, b, "a.db", "b.db"],
      [b, a, "b.db", "a.db"],
    ] as const)
      try {
        const input = { base, pending: second.changes, onto: first.state };
        rebaseChanges(input);
        const rebased = rebaseChanges({ ...input, theirs: first.changes });
        checkRebased(base, first, second, rebased);
        copyFileSync(path(firstFile), path("first.db"));
        copyFileSync(path(secondFile), path("second.db"));
        for (const [file, changes] of [
          ["first.db", rebased.changes],
          ["second.db", rebased.appDb],
        ] as const) {
          const db = open(path(file));
          apply(db, changes, "app-db");
          check(sameSchema(stateOf(db), rebased.target), `the schema of ${file}`, stateOf(db));
          check(integrity(db) === '[["ok"]]', "integrity", integrity(db));
          db.close();
        }
      } catch (error) {
        const told = `first:\n${first.log.join(";\n")}\nsecond:\n${second.log.join(";\n")}`;
        const schema = base.objects.map((o) => o.sql).join(";\n");
        throw new Error(`seed ${seed}: ${(error as Error).stack}\nbase:\n${schema}\n${told}`);
      }
  });
}

const lower = (name: string): string => name.toLowerCase();

function checkRebased(
  base: SchemaState,
  first: { readonly changes: readonly SchemaChange[]; readonly state: SchemaState },
  second: { readonly changes: readonly SchemaChange[]; readonly state: SchemaState },
  rebased: Rebased,
): void {
  const { changes, target, appDb, rejected } = rebased;
  if (process.env.REASONS) for (const l of rejected) console.log("REASON", l.change.op, l.reason);
  check(sameSchema(changeCatalogue(first.state, changes), target), "changes lead to the target");
  check(sameSchema(changeCatalogue(second.state, appDb), target), "the app database leads to the target");
  check(!JSON.stringify(target.objects).includes("__marmot__"), "no temporary name is left", target.objects);
  const again = rebaseChanges({ base, pending: second.changes, onto: second.state, theirs: second.changes });
  check(
    again.changes.length + again.appDb.length + again.rejected.length === 0,
    "the same twice leaves nothing",
    again,
  );
  const taken = rebaseChanges({ base: first.state, pending: changes, onto: target, theirs: changes });
  check(taken.changes.length + taken.appDb.length === 0, "an accepted change leaves nothing", taken);

  // Their tables are kept, except those that we dropped.
  const after = tablesOf(target);
  const ontoTo = new Map(followTables(first.state, changes).map((l) => [lower(l.from ?? ""), l]));
  const dropped = new Set(second.changes.flatMap((c) => (c.op === "dropTable" ? [lower(c.name)] : [])));
  for (const table of tablesOf(first.state).values()) {
    const lineage = ontoTo.get(lower(table.name));
    if (lineage !== undefined && lineage.to === null)
      check(dropped.size > 0, "only tables that we dropped are dropped", table.name);
    else check(after.has(lower(lineage?.to ?? table.name)), "a table of theirs is there", table.name);
  }
  // Our objects are kept or rejected.
  const rejectedNames = new Set(rejected.map((l) => lower(nameOf(l.change))));
  for (const change of second.changes) {
    if (change.op !== "createTable" && change.op !== "create") continue;
    const kind = change.op === "create" ? change.kind : "table";
    const found = target.objects.some((o) => o.kind === kind && lower(o.name) === lower(change.name));
    check(found || rejectedNames.has(lower(change.name)), "an object of ours is kept or rejected", [
      change,
      rejected,
    ]);
  }
  const appDbTo = new Map(followTables(second.state, appDb).map((l) => [lower(l.from ?? ""), l]));
  for (const { from, to, columns } of followTables(base, second.changes)) {
    if (from === null || to === null) continue;
    const now = appDbTo.get(lower(to));
    for (const [column, before] of columns) {
      if (before !== null || now === undefined) continue;
      const kept = now.to !== null && now.columns.some(([, b]) => b !== null && lower(b) === lower(column));
      check(
        kept || rejected.some((l) => l.table !== null && lower(l.table) === lower(to)),
        "a column of ours is kept or rejected",
        [to, column, rejected],
      );
    }
  }
}

function nameOf(change: SchemaChange): string {
  return "name" in change ? change.name : "";
}
