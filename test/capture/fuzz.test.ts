/**
 * Random statements on captured tables; a mirror is fed from the change logs alone and must stay equal. Without a
 * part of capture the same seeds must diverge: otherwise the fuzz would prove nothing.
 */
import { expect, test } from "bun:test";
import { Database } from "bun:sqlite";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { Random } from "../../src/base/random.ts";
import { ChangeLogReader, selectsOfBun } from "../../src/rows/change-log-reader.ts";
import { install } from "../../src/capture/install.ts";
import type { KeyId } from "../../src/change/key.ts";
import { type Image, imageEqual } from "../../src/change/value.ts";
import { exactRows } from "../../src/rows/exact-rows.ts";
import { shapeOf } from "../../src/schema/read-shape.ts";
import { keyIdOfImage } from "../../src/change/key.ts";
import { queryOf } from "../../src/sqlite/query.ts";
import { quoteIdentifier } from "../../src/sqlite/quote.ts";
import { readTable } from "../../src/sqlite/schema.ts";
import { SCHEMA, statements, TABLES } from "./statements.ts";

type Ablation = "none" | "no eviction triggers" | "highest row deleted";

/** True: the mirror is equal to the tables at the end of every round. */
function run(seed: number, ablation: Ablation): boolean {
  const folder = mkdtempSync(join(tmpdir(), "marmot-fuzz-"));
  const path = join(folder, "a.db");
  const app = new Database(path, { create: true });
  try {
    app.exec(`PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; ${SCHEMA}`);
    const writer = new DatabaseSync(path);
    const shapes = TABLES.map((name, i) => shapeOf(readTable(queryOf(writer), name), i + 1));
    const captured = install(writer, shapes, {
      clusterId: "c",
      peerId: "p",
      schemaVersion: 1,
      position: [1],
    });
    if (ablation === "no eviction triggers")
      for (const { name } of writer
        .prepare("SELECT name FROM sqlite_schema WHERE name LIKE '%evict%'")
        .all() as { name: string }[])
        writer.exec(`DROP TRIGGER "${name}"`);
    const reader = new Database(path, { safeIntegers: true });
    const logs = shapes.map(
      (shape, i) =>
        new ChangeLogReader(selectsOfBun(reader), { shape, log: captured[i]!.log, encoding: "UTF-8" }),
    );
    const mirror = TABLES.map(() => new Map<KeyId, Image>());
    const drained = TABLES.map(() => 0);
    const random = new Random(seed);
    app.exec(
      `PRAGMA recursive_triggers = ${random.pick(["ON", "OFF"])}; PRAGMA foreign_keys = ${random.pick(["ON", "OFF"])}`,
    );
    app.exec(`PRAGMA trusted_schema = ${random.pick(["ON", "OFF"])}`);
    const statement = statements(random);
    for (let round = 0; round < 25; round++) {
      const transaction = random.chance(0.4);
      if (transaction) app.exec("BEGIN");
      for (let i = random.between(1, 5); i > 0; i--)
        try {
          app.exec(statement());
        } catch {
          // A constraint, or VACUUM inside a transaction: the application gets the same error without capture.
        }
      if (app.inTransaction) {
        try {
          app.exec(random.chance(0.15) ? "ROLLBACK" : "COMMIT");
        } catch {
          app.exec("ROLLBACK"); // a deferred foreign key
        }
      }
      reader.exec("BEGIN");
      logs.forEach((log, t) => {
        const upTo = log.maxId();
        for (const row of log.captured(drained[t]!, upTo)) {
          if (row.suspect && row.image !== null) continue;
          if (row.image === null) mirror[t]!.delete(row.keyId);
          else mirror[t]!.set(row.keyId, row.image);
        }
        if (upTo > 0) drained[t] = upTo;
      });
      reader.exec("COMMIT");
      captured.forEach(({ log }, t) => {
        if (!random.chance(0.5)) return;
        const keep =
          ablation === "highest row deleted" ? "" : ` AND id < (SELECT max(id) FROM ${quoteIdentifier(log)})`;
        app.exec(`DELETE FROM ${quoteIdentifier(log)} WHERE id <= ${drained[t]!}${keep}`);
      });
      for (const [t, shape] of shapes.entries()) {
        const rows = [...exactRows(writer, shape, "UTF-8")];
        if (rows.length !== mirror[t]!.size) return false;
        for (const row of rows) {
          const known = mirror[t]!.get(keyIdOfImage(shape, row));
          if (known === undefined || !imageEqual(known, row)) return false;
        }
      }
    }
    reader.close();
    writer.close();
    return true;
  } finally {
    app.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

const SEEDS = Array.from({ length: 40 }, (_, i) => i + 1);
/** Enough for each ablation to bite. */
const FEW = SEEDS.slice(0, 15);

test("a mirror fed from the change logs alone equals the tables after random statements", () => {
  expect(FEW.filter((seed) => !run(seed, "none"))).toEqual([]);
}, 120_000);

test("the same mirror diverges without eviction triggers, and when the highest log row is deleted", () => {
  expect(FEW.filter((seed) => !run(seed, "no eviction triggers")).length).toBeGreaterThan(0);
  expect(FEW.filter((seed) => !run(seed, "highest row deleted")).length).toBeGreaterThan(0);
}, 120_000);
