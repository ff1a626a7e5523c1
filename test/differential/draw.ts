/** The case that a seed draws: a schema and transactions. Pure: the same seed and options give the same case. */
import { Random } from "../../src/base/random.ts";
import { quoteIdentifier as q } from "../../src/sqlite/quote.ts";
import { NODES } from "./case.ts";
import { type Draft, type DraftStep, type Statement, sql } from "./draft.ts";
import { StatementDrawer } from "./draw-statements.ts";
import { AUDIT, drawTrigger, drawView, SUPPORT, TALLY } from "./draw-triggers.ts";
import { drawFeatures, type Features, type Options } from "./features.ts";
import { addTable, type Schema } from "./schema.ts";
import { drawMigration } from "./draw-migration.ts";
import { Names, SEARCHED } from "./words.ts";

/** What the product has by now. */
export const OPTIONS: Options = { keyless: true, migrations: true, later: true };

export function draw(seed: number, options: Options = OPTIONS): Draft {
  const random = new Random(seed);
  const encoding = random.pick(["UTF-8", "UTF-8", "UTF-8", "UTF-8", "UTF-16le", "UTF-16be"] as const);
  const features = drawFeatures(random, options, encoding !== "UTF-8", seed);
  const schema = drawSchema(random.fork(), features);
  const alone = random.chance(0.2);
  const writer = alone ? 0 : -1;
  const waits = !alone || random.chance(0.3);
  const steps: DraftStep[] = [];
  addFirstRows(random, features, schema);
  const rowids = features.migrations === 0 && schema.tables.every((t) => t.ordered);
  const count = random.between(6, 22);
  for (let i = 0; i < count; i++)
    steps.push(
      ...withNullKey(
        drawStep(random.fork(), features, schema, { writer, waits: waits || i === 0, alone }),
        features,
        schema,
      ),
    );
  return {
    seed,
    encoding,
    settings: {
      shards: random.pick([1, 1, 1, 2, 5]),
      transactions: random.pick(["whole", "whole", "row"] as const),
      merge: random.pick(["row", "row", "column"] as const),
      foreignKeys: random.pick(["keep", "keep", "resolve"] as const),
      idBlock: alone ? 0 : random.pick([0, 1000]),
    },
    schema: schema.parts,
    steps,
    // VACUUM gives rows without a declared key other rowids in a plain file, and leaves them alone in a replicated one.
    rowids: rowids && (schema.tables.every((t) => t.key.length > 0) || !steps.some(vacuums)),
    functions: features.nodeFunctions && features.functionsAnywhere > 0,
    words: schema.searches.length > 0 ? SEARCHED : [],
  };
}

/** Somewhere before the end of the step's transaction, or before and after it, a row has NULL in its key. */
function withNullKey(step: DraftStep, { nullKeys, later }: Features, { tables }: Schema): DraftStep[] {
  const nullable = tables.filter((t) => t.nullableKey && !t.searched);
  const end = step.statements.findLastIndex((s) => s.kind === "sql" && s.text === "COMMIT");
  if (!later.chance(nullKeys) || nullable.length === 0 || step.node === "all" || end < 0) return [step];
  const table = later.pick(nullable);
  const key = later.pick(table.key);
  const isNull = table.key.map((k) => `${q(k)} IS NULL`).join(" OR ");
  const put = sql(
    `UPDATE ${q(table.name)} SET ${q(key)} = NULL WHERE ${q(key)} = (SELECT max(${q(key)}) FROM ${q(table.name)})`,
  );
  const take = sql(`DELETE FROM ${q(table.name)} WHERE ${isNull}`);
  const at = later.between(
    step.statements.findIndex((s) => s.kind === "sql" && s.text.startsWith("BEGIN")) + 1,
    end,
  );
  const before = step.statements.slice(0, at);
  const after = step.statements.slice(at);
  if (later.chance(0.6)) {
    const last = after.findLastIndex((s) => s.kind === "sql" && s.text === "COMMIT");
    return [{ ...step, statements: [...before, put, ...after.toSpliced(last, 0, take)] }];
  }
  // The table waits from one transaction to the next.
  const settings = step.statements.filter((s) => s.kind === "sql" && s.text.startsWith("PRAGMA"));
  return [
    { ...step, statements: [...before, put, ...after] },
    { node: step.node, settled: false, statements: [...settings, take] },
  ];
}

const vacuums = ({ statements }: DraftStep): boolean =>
  statements.some((s) => s.kind === "sql" && s.text === "VACUUM");

export function addFirstRows(random: Random, features: Features, schema: Schema): void {
  const drawer = new StatementDrawer(
    random.fork(),
    { ...features, nulls: 0.1 },
    { recursive: true, alone: false },
  );
  for (const table of schema.tables)
    for (let i = random.below(4); i > 0; i--) {
      const row = drawer.insert(table);
      if (row.kind === "insert") schema.parts.push({ ...row, head: "INSERT OR IGNORE INTO", tail: "" });
    }
}

export function drawSchema(random: Random, features: Features): Schema {
  const names = new Names(random, features.oddNames, [TALLY, AUDIT]);
  const first: Statement = sql(`PRAGMA foreign_keys = ${features.enforced ? "ON" : "OFF"}`);
  const schema: Schema = {
    names,
    parts: [first],
    tables: [],
    objects: [],
    views: [],
    searches: [],
    targets: [],
  };
  const { parts, tables } = schema;
  for (let i = random.between(1, 4); i > 0; i--) parts.push(...addTable(random, features, schema, true));
  const triggers: Statement[] = [];
  tables.forEach((table, i) => {
    for (let n = 0; n < 3; n++)
      if (random.chance(features.triggers)) {
        const trigger = drawTrigger(random, features, names, table, tables.slice(i + 1));
        schema.objects.push({ kind: "trigger", table: table.name, ...trigger });
        triggers.push(sql(trigger.sql));
      }
  });
  if (random.chance(features.views)) {
    const table = random.pick(tables);
    const view = drawView(random, names, [table]);
    parts.push(...view.sql.map(sql));
    schema.objects.push(
      ...view.sql.map((text) => ({ kind: "view" as const, name: "", table: table.name, sql: text })),
    );
    schema.views.push({ view: view.info, table: table.name });
  }
  if (triggers.length > 0 || schema.views.some((v) => v.view.writable) || features.migrations > 0)
    parts.unshift(...SUPPORT.map(sql));
  parts.push(...triggers);
  return schema;
}

/** Something to do with the rows; mostly one statement. */
export function drawOne(random: Random, drawer: StatementDrawer, schema: Schema): Statement[] {
  const view = schema.views.length > 0 && random.chance(0.15) ? random.pick(schema.views) : null;
  if (view !== null)
    return [
      drawer.view(
        view.view,
        schema.tables.find((t) => t.name === view.table)!,
      ),
    ];
  if (schema.searches.length > 0 && random.chance(0.1)) return [drawer.search(random.pick(schema.searches))];
  return drawer.any(schema.tables);
}

function drawStep(
  random: Random,
  features: Features,
  schema: Schema,
  { writer, waits, alone }: { writer: number; waits: boolean; alone: boolean },
): DraftStep {
  const node = writer >= 0 ? writer : random.below(NODES);
  const recursive = random.chance(0.4);
  const statements: Statement[] = [];
  const say = (text: string): void => void statements.push(sql(text));
  say(`PRAGMA recursive_triggers = ${recursive ? "ON" : "OFF"}`);
  say(`PRAGMA foreign_keys = ${features.enforced || random.chance(0.5) ? "ON" : "OFF"}`);
  // Untrusted, a schema may not call functions of the application.
  const mayDistrust = random.chance(0.15) && features.ownFunctions === 0 && features.functionsAnywhere === 0;
  if (mayDistrust) say(`PRAGMA trusted_schema = ${random.pick(["ON", "OFF"])}`);
  if (random.chance(0.08)) say(`PRAGMA ignore_check_constraints = ${random.pick(["ON", "OFF", "OFF"])}`);
  if (random.chance(0.1)) {
    say(random.pick(["VACUUM", "ANALYZE", "REINDEX", "PRAGMA wal_checkpoint(PASSIVE)"]));
    return { node: "all", settled: true, statements };
  }
  const drawer = new StatementDrawer(random, features, { recursive, alone });
  const one = (): void => void statements.push(...drawOne(random, drawer, schema));
  if (random.chance(features.migrations)) {
    statements.push(
      ...drawMigration(random, features, schema, () =>
        schema.tables.length > 0 ? drawer.any(schema.tables) : [],
      ),
    );
    return { node, settled: waits, statements };
  }
  if (schema.tables.length === 0) return { node, settled: waits, statements };
  const transaction = random.chance(0.6);
  if (transaction) say(random.pick(["BEGIN", "BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"]));
  if (transaction && random.chance(0.2)) say("PRAGMA defer_foreign_keys = ON");
  for (let i = random.between(1, transaction ? 5 : 2); i > 0; i--) {
    if (transaction && random.chance(0.15)) {
      say("SAVEPOINT s");
      one();
      say(random.pick(["RELEASE s", "ROLLBACK TO s", "ROLLBACK TO s"]));
    } else one();
  }
  if (random.chance(0.05) && !transaction) {
    const table = random.pick(schema.tables);
    if (table.key.length > 0) say(`SELECT count(*) FROM ${q(table.name)}`);
  }
  if (transaction) say(random.chance(0.12) ? "ROLLBACK" : "COMMIT");
  return { node, settled: waits, statements };
}
