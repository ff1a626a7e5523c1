/**
 * Two replicas of which neither is ahead of the other, made into one that is: each shard's part is taken from the one
 * that is further there. The greater position in each shard is one that any node could reach (`passing.ts`), so what comes
 * out is what a node that stands there holds. Without it, two nodes whose logs are cut at what they have could wait for
 * each other for ever.
 *
 * What rows of a shard are depends on the positions there and in shard 0, where changesets over several shards stand. The
 * one further in a shard has taken every such changeset that the other has; at equal positions the one further in shard 0
 * has more of them, as an entry there may take effect before the marker that it needed is passed.
 */
import type { DatabaseSync } from "node:sqlite";
import { assert } from "../../base/assert.ts";
import { keyValues, type KeyId } from "../../change/key.ts";
import { prepareExact, RowAccess } from "../../rows/row-access.ts";
import { compareRows } from "./compare-rows.ts";
import { readRouting } from "../store/row-routing.ts";
import { readShapes } from "../store/schema-store.ts";
import { readSettings } from "../store/settings.ts";

/** Tables that a shard's part replaces as a whole, by their column "shard". */
const BY_SHARD = ["origin", "checksum", "conflict", "staged", "check", "moved"] as const;

/**
 * Tables whose rows go with the row that they are about, by "tbl" and "key", as positions may be in shard 0. Unlike the
 * keys' they come and go: what the one further in a shard does not have, it had to forget.
 */
const BY_KEY = ["column", "orphan", "attached", "stray", "birth"] as const;

/** Shard ⇒ its part is the first replica's. */
export function furtherParts(first: readonly number[], second: readonly number[]): boolean[] {
  return first.map((index, shard) =>
    index === second[shard]! ? first[0]! > second[0]! : index > second[shard]!,
  );
}

const positionsOf = (db: DatabaseSync): number[] =>
  (db.prepare(`SELECT "idx" FROM "__marmot__position" ORDER BY "shard"`).all() as { idx: number }[]).map(
    (r) => r.idx,
  );

/**
 * Makes `target` the greater of both. Call inside transactions of both; `pause` is called with the rows looked at. False:
 * they are of different schema versions, and nothing changed.
 */
export async function mergeParts(
  source: DatabaseSync,
  target: DatabaseSync,
  pause: (rows: number) => Promise<void>,
): Promise<boolean> {
  const settings = readSettings(target, "the replica received");
  if (readSettings(source, "the replica").schemaVersion !== settings.schemaVersion) return false;
  const parts = furtherParts(positionsOf(source), positionsOf(target));
  const shapes = new Map(readShapes(target).map((s) => [s.id, s]));
  const routing = readRouting(target, [...shapes.values()], settings);
  const isSources = (table: number, keyId: KeyId): boolean => {
    const shape = shapes.get(table);
    assert(shape !== undefined, "replicas of one schema version have the same tables");
    return parts[routing.shardOf(shape, keyId)]!;
  };
  // Rows: which differ is noted first, as a table that is being read stays as it is.
  target.exec(`CREATE TEMP TABLE "differs"("tbl" INTEGER, "key")`);
  const note = target.prepare(`INSERT INTO temp."differs" VALUES(?, ?)`);
  await compareRows({
    left: source,
    right: target,
    shapes: [...shapes.values()],
    encoding: settings.encoding,
    onDifference: ({ table, keyId }) => {
      if (isSources(table.id, keyId)) note.run(table.id, keyId);
      return true;
    },
    pause,
  });
  const access = (db: DatabaseSync) =>
    new Map([...shapes.values()].map((s) => [s.id, new RowAccess(db, s, settings.encoding)]));
  const [from, to] = [access(source), access(target)];
  const differing = target.prepare(`SELECT "tbl", "key" FROM temp."differs"`);
  differing.setReturnArrays(true);
  const keys = (): Iterable<[number, KeyId]> => differing.iterate() as unknown as Iterable<[number, KeyId]>;
  for (const [table, keyId] of keys()) to.get(table)!.delete(keyValues(shapes.get(table)!, keyId));
  for (const [table, keyId] of keys()) {
    const image = from.get(table)!.get(keyValues(shapes.get(table)!, keyId));
    if (image !== null) to.get(table)!.upsert(image);
  }
  target.exec(`DROP TABLE temp."differs"`);
  copyKeys(source, target, isSources);
  for (const table of BY_KEY) replaceOf(table, source, target, isSources);
  parts.forEach((isSource, shard) => {
    if (isSource) copyShard(source, target, shard);
  });
  copyAll(source, target, "watermark", `ON CONFLICT DO UPDATE SET "up_to" = max("up_to", excluded."up_to")`);
  copyAll(
    source,
    target,
    "rowid",
    `ON CONFLICT DO UPDATE SET "highest" = max("highest", excluded."highest")`,
  );
  copyAll(source, target, "peer", "ON CONFLICT DO NOTHING");
  return true;
}

/** The keys' last positions. The one further in a shard has all keys there that the other has. */
function copyKeys(
  source: DatabaseSync,
  target: DatabaseSync,
  isSources: (table: number, keyId: KeyId) => boolean,
): void {
  const all = source.prepare(`SELECT "tbl", "key", "shard", "idx", "origin" FROM "__marmot__key"`);
  all.setReturnArrays(true);
  const put = target.prepare(`INSERT OR REPLACE INTO "__marmot__key" VALUES(?, ?, ?, ?, ?)`);
  for (const row of all.iterate() as unknown as Iterable<[number, KeyId, number, number, number]>)
    if (isSources(row[0], row[1])) put.run(...row);
}

/** What a table says of the source's rows is replaced by what the source's says. */
function replaceOf(
  table: (typeof BY_KEY)[number],
  source: DatabaseSync,
  target: DatabaseSync,
  isSources: (table: number, keyId: KeyId) => boolean,
): void {
  const keys = target.prepare(`SELECT DISTINCT "tbl", "key" FROM "__marmot__${table}"`);
  keys.setReturnArrays(true);
  const drop = target.prepare(`DELETE FROM "__marmot__${table}" WHERE "tbl" = ? AND "key" = ?`);
  for (const [tbl, key] of keys.all() as unknown as [number, KeyId][])
    if (isSources(tbl, key)) drop.run(tbl, key);
  const isRows = ([tbl, key]: CopiedRow): boolean => isSources(Number(tbl), asKeyId(key));
  copyAll(source, target, table, "", "", isRows);
}

type CopiedRow = (null | number | bigint | string | Uint8Array)[];

const asKeyId = (key: CopiedRow[number] | undefined): KeyId =>
  typeof key === "bigint" ? Number(key) : (key as KeyId);

function copyShard(source: DatabaseSync, target: DatabaseSync, shard: number): void {
  for (const table of BY_SHARD) {
    target.prepare(`DELETE FROM "__marmot__${table}" WHERE "shard" = ?`).run(shard);
    copyAll(source, target, table, "", `WHERE "shard" = ${shard}`);
  }
  const position = source.prepare(`SELECT "idx", "term" FROM "__marmot__position" WHERE "shard" = ?`);
  const { idx, term } = position.get(shard) as { idx: number; term: number };
  target
    .prepare(`UPDATE "__marmot__position" SET "idx" = ?, "term" = ? WHERE "shard" = ?`)
    .run(idx, term, shard);
}

function copyAll(
  source: DatabaseSync,
  target: DatabaseSync,
  table: string,
  conflict: string,
  where = "",
  wanted: (row: CopiedRow) => boolean = () => true,
): void {
  const rows = prepareExact(source, `SELECT * FROM "__marmot__${table}" ${where}`);
  const marks = source
    .prepare(`PRAGMA table_info("__marmot__${table}")`)
    .all()
    .map(() => "?");
  const put = target.prepare(`INSERT INTO "__marmot__${table}" VALUES(${marks.join(", ")}) ${conflict}`);
  for (const row of rows.iterate() as unknown as Iterable<CopiedRow>) if (wanted(row)) put.run(...row);
}
