/**
 * Merges two replicas of which neither is ahead of the other in all shards: the part of each shard is taken from the
 * replica with the greater position there. Every node can reach the greater position in each shard (`delivery-rule.ts`),
 * so the result equals the replica of a node at these positions. Without a merge, two nodes with truncated logs could
 * wait for each other without end.
 *
 * Rows of a shard depend on its position and on that of shard 0, which has the changesets over several shards. The replica
 * ahead in a shard has taken every such changeset that the other one has. At equal positions the one ahead in shard 0 has
 * more of them: an entry of shard 0 may take effect before the marker that it needed is applied.
 */
import type { DatabaseSync } from "node:sqlite";
import { assert } from "../../base/assert.ts";
import { keyValues, type KeyId } from "../../change/key.ts";
import type { TableShape } from "../../change/shape.ts";
import { prepareExact } from "../../rows/exact-values.ts";
import { RowAccess } from "../../rows/row-access.ts";
import { readPositions } from "../store/positions.ts";
import { readRouting } from "../store/row-routing.ts";
import { readShapes } from "../store/schema-store.ts";
import { readSettings } from "../store/settings.ts";
import { compareRows } from "./compare-rows.ts";
import { integer, readRow, trusted } from "../../sqlite/typed-rows.ts";

/** Tables of which the part of a shard is replaced as a whole, by the column "shard". */
const BY_SHARD = ["origin", "checksum", "conflict", "conflict_state", "staged", "check", "moved"] as const;

/**
 * Tables of records about a row, by "tbl" and "key"; their positions may be in shard 0. Unlike key positions, such records
 * are also deleted: a record that the replica ahead does not have was dropped there.
 */
const BY_KEY = ["column", "orphan", "attached", "stray", "birth"] as const;

/** Per shard: its part is taken from the first replica. */
function furtherParts(first: readonly number[], second: readonly number[]): boolean[] {
  return first.map((index, shard) =>
    index === second[shard]! ? first[0]! > second[0]! : index > second[shard]!,
  );
}

/** The two replicas: parts of `source` are copied into `target`. */
interface Merge {
  readonly source: DatabaseSync;
  readonly target: DatabaseSync;
  /** The row is routed to a shard whose part is taken from the source. */
  readonly isSources: (table: number, keyId: KeyId) => boolean;
}

/**
 * Makes `target` the greater of both. Call inside transactions of both. `pause` is called with the number of rows
 * compared. False: the schema versions differ, and nothing changed.
 */
export async function mergeParts(
  source: DatabaseSync,
  target: DatabaseSync,
  pause: (rows: number) => Promise<void>,
): Promise<boolean> {
  const settings = readSettings(target, "the replica received");
  if (readSettings(source, "the replica").schemaVersion !== settings.schemaVersion) return false;
  const parts = furtherParts(readPositions(source), readPositions(target));
  const shapes = new Map(readShapes(target).map((s) => [s.id, s]));
  const routing = readRouting(target, [...shapes.values()], settings);
  const isSources = (table: number, keyId: KeyId): boolean => {
    const shape = shapes.get(table);
    assert(shape !== undefined, "replicas of one schema version have the same tables");
    return parts[routing.shardOf(shape, keyId)]!;
  };
  const merge = { source, target, isSources };
  await copyRows(merge, shapes, settings.encoding, pause);
  copyKeys(merge);
  for (const table of BY_KEY) replaceRecords(table, merge);
  parts.forEach((isSource, shard) => {
    if (isSource) copyShard(merge, shard);
  });
  copyAll(merge, "watermark", {
    conflict: `ON CONFLICT DO UPDATE SET "up_to" = max("up_to", excluded."up_to")`,
  });
  copyAll(merge, "rowid", {
    conflict: `ON CONFLICT DO UPDATE SET "highest" = max("highest", excluded."highest")`,
  });
  copyAll(merge, "peer", { conflict: "ON CONFLICT DO NOTHING" });
  return true;
}

/** Copies the source's rows. Their keys are collected first, because a table must not change while it is compared. */
async function copyRows(
  { source, target, isSources }: Merge,
  shapes: ReadonlyMap<number, TableShape>,
  encoding: string,
  pause: (rows: number) => Promise<void>,
): Promise<void> {
  target.exec(`CREATE TEMP TABLE "differs"("tbl" INTEGER, "key")`);
  const note = target.prepare(`INSERT INTO temp."differs" VALUES(?, ?)`);
  await compareRows({
    left: source,
    right: target,
    shapes: [...shapes.values()],
    encoding,
    onDifference: ({ table, keyId }) => {
      if (isSources(table.id, keyId)) note.run(table.id, keyId);
      return true;
    },
    pause,
  });
  const access = (db: DatabaseSync) =>
    new Map([...shapes.values()].map((s) => [s.id, new RowAccess(db, s, encoding)]));
  const [from, to] = [access(source), access(target)];
  const differing = target.prepare(`SELECT "tbl", "key" FROM temp."differs"`);
  differing.setReturnArrays(true);
  const keys = (): Iterable<[number, KeyId]> => trusted(differing.iterate());
  for (const [table, keyId] of keys()) to.get(table)!.delete(keyValues(shapes.get(table)!, keyId));
  for (const [table, keyId] of keys()) {
    const image = from.get(table)!.get(keyValues(shapes.get(table)!, keyId));
    if (image !== null) to.get(table)!.upsert(image);
  }
  target.exec(`DROP TABLE temp."differs"`);
}

type KeyRow = [table: number, keyId: KeyId, shard: number, index: number, origin: number];

/** Copies key positions. The replica ahead in a shard has all keys there that the other one has. */
function copyKeys({ source, target, isSources }: Merge): void {
  const all = source.prepare(`SELECT "tbl", "key", "shard", "idx", "origin" FROM "__marmot__key"`);
  all.setReturnArrays(true);
  const put = target.prepare(`INSERT OR REPLACE INTO "__marmot__key" VALUES(?, ?, ?, ?, ?)`);
  for (const row of trusted<Iterable<KeyRow>>(all.iterate())) if (isSources(row[0], row[1])) put.run(...row);
}

/** Replaces the records about the source's rows. */
function replaceRecords(table: (typeof BY_KEY)[number], merge: Merge): void {
  const { target, isSources } = merge;
  const keys = target.prepare(`SELECT DISTINCT "tbl", "key" FROM "__marmot__${table}"`);
  keys.setReturnArrays(true);
  const drop = target.prepare(`DELETE FROM "__marmot__${table}" WHERE "tbl" = ? AND "key" = ?`);
  for (const [tbl, key] of trusted<[number, KeyId][]>(keys.all()))
    if (isSources(tbl, key)) drop.run(tbl, key);
  copyAll(merge, table, { wanted: ([tbl, key]) => isSources(Number(tbl), asKeyId(key)) });
}

type CopiedRow = (null | number | bigint | string | Uint8Array)[];

const asKeyId = (key: CopiedRow[number] | undefined): KeyId =>
  typeof key === "bigint" ? Number(key) : (key as KeyId);

function copyShard(merge: Merge, shard: number): void {
  const { source, target } = merge;
  for (const table of BY_SHARD) {
    target.prepare(`DELETE FROM "__marmot__${table}" WHERE "shard" = ?`).run(shard);
    copyAll(merge, table, { where: `WHERE "shard" = ${shard}` });
  }
  const position = source.prepare(`SELECT "idx", "term" FROM "__marmot__position" WHERE "shard" = ?`);
  const { idx, term } = readRow(position.get(shard), { idx: integer, term: integer });
  target
    .prepare(`UPDATE "__marmot__position" SET "idx" = ?, "term" = ? WHERE "shard" = ?`)
    .run(idx, term, shard);
}

/** Copies rows of one of Marmot's tables. `conflict`: the upsert clause; `where` and `wanted` choose the rows. */
function copyAll(
  { source, target }: Merge,
  table: string,
  {
    conflict = "",
    where = "",
    wanted = () => true,
  }: {
    readonly conflict?: string;
    readonly where?: string;
    readonly wanted?: (row: CopiedRow) => boolean;
  },
): void {
  const rows = prepareExact(source, `SELECT * FROM "__marmot__${table}" ${where}`);
  const marks = source
    .prepare(`PRAGMA table_info("__marmot__${table}")`)
    .all()
    .map(() => "?");
  const put = target.prepare(`INSERT INTO "__marmot__${table}" VALUES(${marks.join(", ")}) ${conflict}`);
  for (const row of trusted<Iterable<CopiedRow>>(rows.iterate())) if (wanted(row)) put.run(...row);
}
