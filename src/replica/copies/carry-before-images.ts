/**
 * Before images for the installation of a snapshot. Those of this node's replica are copied. For every row that the
 * snapshot changes, one more records the row as the app database has it.
 */
import type { DatabaseSync } from "node:sqlite";
import { decodeImage, encodeImage } from "../../change/codec.ts";
import { type KeyId, keyIdOf, keyValues } from "../../change/key.ts";
import { settingOf } from "../../change/per-table.ts";
import type { TableShape } from "../../change/shape.ts";
import type { Image } from "../../change/value.ts";
import { readAcknowledged, readChangeLogs } from "../../rows/change-logs.ts";
import { exactKey, exactKeyColumns, prepareExact } from "../../rows/exact-values.ts";
import { RowAccess } from "../../rows/row-access.ts";
import { openAppDb } from "../../sqlite/open-app-db.ts";
import { UNKNOWN_IMAGE } from "../apply/before-images.ts";
import { covers } from "../apply/changeset.ts";
import { KeyPositions } from "../apply/key-positions.ts";
import { foldName } from "../../base/names.ts";
import { shapeOf } from "../../schema/read-shape.ts";
import { queryOf } from "../../sqlite/query.ts";
import { quoteIdentifier } from "../../sqlite/quote.ts";
import { readTable } from "../../sqlite/schema.ts";
import { readShapes } from "../store/schema-store.ts";
import { readSettings, type ReplicaSettings } from "../store/settings.ts";
import { peerHash } from "../store/tables.ts";
import { loggedKeys, reflectedPosition } from "./app-db-logs.ts";
import { compareRows } from "./compare-rows.ts";
import { bigInteger, integer, nullable, readRow, readTuples, trusted } from "../../sqlite/typed-rows.ts";

interface CarryOver {
  /** This node's replica, and the snapshot that takes its place. */
  readonly previous: DatabaseSync;
  readonly next: DatabaseSync;
  readonly peerId: string;
  /** Path of the app database. */
  readonly appDb: string;
  /** Positions of the two replicas. */
  readonly before: readonly number[];
  readonly after: readonly number[];
  readonly pause: (rows: number) => Promise<void>;
  /** Tables of which the previous replica had no rows: each row of the file may differ. Absent: none. */
  readonly withoutRows?: ReadonlySet<number>;
}

/** A row that the snapshot changes. */
interface ChangedKey {
  readonly table: number;
  readonly keyId: KeyId;
  /** The replica took this node's own image last: the row in the replica is the one that the app database has. */
  readonly own: boolean;
  /** The encoded row in the app database; null: there is none. */
  readonly image: Uint8Array | null;
}

interface Carry extends CarryOver {
  readonly file: DatabaseSync;
  readonly settings: ReplicaSettings;
  /** `peerHash` of this node. */
  readonly self: number;
  /** Position that the app database reflects. */
  readonly reflected: readonly number[];
  /** Last writes in `next`. */
  readonly written: KeyPositions;
  readonly note: (changed: ChangedKey) => void;
}

const encoded = (image: Image | null): Uint8Array | null => (image === null ? null : encodeImage(image));

export async function carryBeforeImages(options: CarryOver): Promise<void> {
  const { previous, next, peerId, appDb, before } = options;
  const settings = readSettings(next, "the replica received");
  const shapes = readShapes(next);
  const file = openAppDb(appDb, { readOnly: true });
  try {
    file.exec("BEGIN");
    const reflected = reflectedPosition(file, before.length);
    const carry: Carry = {
      ...options,
      ...{ file, settings, self: peerHash(peerId), reflected },
      written: new KeyPositions(next),
      note: beforeImageWriter(options, reflected),
    };
    const unchanged = previous === next ? tablesInFile(file, next) : unchangedTables(previous, next);
    noteChangedTables(
      shapes.filter((s) => !unchanged.has(s.id)),
      carry,
    );
    const same = shapes.filter((s) => unchanged.has(s.id));
    // After a power cut the replica may be behind the app database. Then the app database itself tells its rows.
    if (reflected.some((index, shard) => index > before[shard]!)) noteFromAppDb(same, carry);
    else await noteDifferences(same, carry);
  } finally {
    file.close();
  }
}

/** Copies the records of the previous replica, and returns a function that adds one. */
function beforeImageWriter(
  { previous, next, before, after }: CarryOver,
  reflected: readonly number[],
): (changed: ChangedKey) => void {
  // An attempt that crashed before the rename may have left records.
  next.exec(`DELETE FROM "__marmot__local_reference"`);
  const insert = next.prepare(`INSERT INTO "__marmot__local_reference" VALUES(?, ?, ?, ?, ?, ?)`);
  const forget = next.prepare(`DELETE FROM "__marmot__local_reference" WHERE "tbl" = ? AND "key" = ?`);
  let id = 0;
  const records = previous.prepare(
    `SELECT "tbl", "key", "shard", "idx", "image" FROM "__marmot__local_reference" ORDER BY "id"`,
  );
  records.setReturnArrays(true);
  type Stored = [number, KeyId, number, number, Uint8Array | null];
  for (const record of trusted<Iterable<Stored>>(records.iterate())) insert.run(++id, ...record);
  // The app database gets all changes of the snapshot at once, so the new position of any one shard is enough.
  const shown = before.map((index, shard) => Math.max(index, reflected[shard]!));
  const shard = Math.max(
    0,
    after.findIndex((index, i) => index > shown[i]!),
  );
  return ({ table, keyId, own, image }) => {
    if (own) forget.run(table, keyId);
    else insert.run(++id, table, keyId, shard, after[shard]!, image);
  };
}

/** Ids of tables that have the same name, columns and key in the file. */
function tablesInFile(file: DatabaseSync, next: DatabaseSync): Set<number> {
  const text = ({ name, columns, key, rowidKey }: TableShape): string =>
    JSON.stringify([foldName(name), columns, key, rowidKey]);
  const query = queryOf(file);
  return new Set(
    readShapes(next).flatMap((shape) => {
      const table = readTable(query, shape.name);
      return table.columns.length > 0 && text(shapeOf(table, shape.id)) === text(shape) ? [shape.id] : [];
    }),
  );
}

/** Ids of tables that have the same shape in both replicas. */
function unchangedTables(previous: DatabaseSync, next: DatabaseSync): Set<number> {
  const texts = new Map(readShapes(previous).map((s) => [s.id, JSON.stringify(s)]));
  return new Set(readShapes(next).flatMap((s) => (texts.get(s.id) === JSON.stringify(s) ? [s.id] : [])));
}

type WrittenKey = [keyId: KeyId, shard: number, index: number, origin: number];

/**
 * Rows of tables that a schema change altered or created: the image in the app database is unknown in the new shape, and
 * a new table has no rows there.
 */
function noteChangedTables(
  shapes: readonly TableShape[],
  { previous, next, before, self, note, file, withoutRows = new Set<number>() }: Carry,
): void {
  const isLost = previous === next;
  const known = new Set(readShapes(previous).map((s) => s.id));
  const written = next.prepare(`SELECT "key", "shard", "idx", "origin" FROM "__marmot__key" WHERE "tbl" = ?`);
  written.setReturnArrays(true);
  for (const { id } of shapes)
    for (const [keyId, shard, index, origin] of trusted<WrittenKey[]>(written.all(id))) {
      if (covers(before, { shard, index })) continue;
      const own = origin === self && !isLost;
      note({ table: id, keyId, own, image: known.has(id) ? UNKNOWN_IMAGE : null });
    }
  for (const { id } of shapes)
    if (withoutRows.has(id))
      for (const keyId of keysInFile(file, id)) note({ table: id, keyId, own: false, image: UNKNOWN_IMAGE });
}

/** Rows that differ between the two replicas: the app database has them as the previous replica does. */
async function noteDifferences(shapes: readonly TableShape[], carry: Carry): Promise<void> {
  const { previous, next, settings, self, before, written, note, pause } = carry;
  const taken = keysTaken(shapes, carry);
  for (const key of redirectedKeys(shapes, carry)) taken.add(key);
  await compareRows({
    left: previous,
    right: next,
    shapes,
    encoding: settings.encoding,
    onDifference: ({ table, keyId, left }) => {
      const last = written.last(table.id, keyId);
      const own = last !== null && last.origin === self && !covers(before, last);
      // Where columns are merged, the row in the replica may differ from the own image.
      const whole = settingOf(settings.merge, table.name) === "row";
      // An own image was taken and overwritten between the two replicas: the row in the app database is unknown.
      const unknown = (own && !whole) || taken.has(`${table.id}/${keyId}`);
      note({ table: table.id, keyId, own: own && whole, image: unknown ? UNKNOWN_IMAGE : encoded(left) });
      return true;
    },
    pause,
  });
}

/** Every key written after the position of the app database, with the row there. That of a pending key is unknown. */
function noteFromAppDb(shapes: readonly TableShape[], carry: Carry): void {
  const { file, settings, reflected, self, written, note, withoutRows = new Set<number>() } = carry;
  const shapeOf = new Map(shapes.map((s) => [s.id, s]));
  const acknowledged = readAcknowledged(file);
  const pending = loggedKeys(file, shapes, { from: ({ id }) => acknowledged.get(id) ?? 0 });
  const access = new Map(shapes.map((s) => [s.id, new RowAccess(file, s, settings.encoding)]));
  const withheld = withheldKeys(file, shapeOf);
  for (const id of withoutRows) for (const keyId of keysInFile(file, id)) addTo(withheld, id, keyId);
  const noteKey = (table: number, keyId: KeyId, isOwn: boolean): void => {
    const shape = shapeOf.get(table);
    if (shape === undefined) return;
    const now = access.get(table)!.get(keyValues(shape, keyId));
    const own = isOwn && settingOf(settings.merge, shape.name) === "row";
    note({ table, keyId, own, image: pending.has(`${table}/${keyId}`) ? UNKNOWN_IMAGE : encoded(now) });
  };
  reflected.forEach((index, shard) => {
    for (const { table, keyId, origin } of written.since(shard, index))
      if (withheld.get(table)?.has(keyId) !== true) noteKey(table, keyId, origin === self);
  });
  // The file shows them as of an older position than the others, or it is not known of which.
  for (const [table, keyIds] of withheld) for (const keyId of keyIds) noteKey(table, keyId, false);
}

/** Keys of rows that the file withholds, by table. */
function withheldKeys(file: DatabaseSync, shapes: ReadonlyMap<number, TableShape>): Map<number, Set<KeyId>> {
  const keys = new Map<number, Set<KeyId>>();
  const rows = file.prepare(`SELECT "id", "key" FROM "__marmot__shadow"`).all() as {
    id: number;
    key: Uint8Array;
  }[];
  for (const { id, key } of rows) {
    const shape = shapes.get(id);
    if (shape !== undefined) addTo(keys, id, keyIdOf(shape, decodeImage(key)));
  }
  return keys;
}

const addTo = (keys: Map<number, Set<KeyId>>, table: number, keyId: KeyId): void =>
  void keys.set(table, (keys.get(table) ?? new Set()).add(keyId));

/** Keys of all rows of a table that the file has. */
function keysInFile(file: DatabaseSync, id: number): KeyId[] {
  const name = readChangeLogs(file).find((table) => table.id === id)?.name;
  const table = name === undefined ? null : readTable(queryOf(file), name);
  if (table === null || table.columns.length === 0) return [];
  const shape = shapeOf(table, id);
  const encoding = String(queryOf(file)("PRAGMA encoding")[0]![0]);
  const columns = shape.key.map((k) => quoteIdentifier(shape.columns[k]!.name));
  const rows = prepareExact(
    file,
    `SELECT ${exactKeyColumns(shape, columns)} FROM main.${quoteIdentifier(shape.name)}`,
  );
  return rows.all().map((row) => keyIdOf(shape, exactKey(shape, row, encoding)));
}

/** Keys of own log rows that the snapshot has and the previous replica has not. They are still in the change logs. */
function keysTaken(shapes: readonly TableShape[], { previous, next, peerId, file }: Carry): Set<string> {
  const bound = (db: DatabaseSync, which: "min" | "max", table: number): number => {
    const sql = `SELECT ${which}("up_to") AS bound FROM "__marmot__watermark" WHERE "peer" = ? AND "tbl" = ?`;
    return readRow(db.prepare(sql).get(peerId, table), { bound: nullable(integer) }).bound ?? 0;
  };
  return loggedKeys(file, shapes, {
    from: ({ id }) => bound(previous, "min", id),
    to: ({ id }) => bound(next, "max", id),
  });
}

/** New keys of own rows whose rowid the snapshot redirects: the app database will have pending writes under them. */
function redirectedKeys(shapes: readonly TableShape[], { next, self, before }: Carry): string[] {
  const redirected = prepareExact(
    next,
    `SELECT "tbl", "to_rowid", "shard", "idx" FROM "__marmot__moved" WHERE "origin" = ?`,
  );
  const rows = readTuples(redirected.all(self), integer, bigInteger, integer, integer);
  const shapeOf = new Map(shapes.map((s) => [s.id, s]));
  return rows.flatMap(([table, to, shard, index]) =>
    !covers(before, { shard, index }) && shapeOf.has(table)
      ? [`${table}/${keyIdOf(shapeOf.get(table)!, [to])}`]
      : [],
  );
}
