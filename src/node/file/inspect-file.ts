/**
 * Decides how a member goes on with the file at its path: as it is, under a new epoch, with capture installed again, or not
 * at all. Run at the start, and again when the file changed under a running node. Nothing else may be open on the replica.
 */
import { existsSync, statSync } from "node:fs";
import type { DatabaseSync } from "node:sqlite";
import type { Halt } from "../../base/halt.ts";
import type { PeerId } from "../../base/ids.ts";
import { errorMessage, isDamage } from "../../base/errors.ts";
import { readCaptured, readMeta } from "../../capture/install.ts";
import { readRemembered } from "../../capture/remembered.ts";
import { compareRows } from "../../replica/copies/compare-rows.ts";
import { readFileNote } from "../../replica/store/file-note.ts";
import { readObjectsOf, readShapes } from "../../replica/store/schema-store.ts";
import { readSettings } from "../../replica/store/settings.ts";
import type { DataPaths } from "../../replication/machine/data-paths.ts";
import { readFileLife } from "../../rows/file-life.ts";
import { APP_DB_FORMAT, APP_DB_TABLES } from "../../schema/app-db-tables.ts";
import { readCatalogue } from "../../schema/catalogue.ts";
import { hasTable } from "../../sqlite/has.ts";
import { LOCKED_MS } from "../../sqlite/locked.ts";
import { openDatabase } from "../../sqlite/open.ts";
import { openAppDb } from "../../sqlite/open-app-db.ts";
import { findDamage, QUICK_CHECK_BYTES, sizeOf } from "../../sqlite/damage.ts";
import { queryOf } from "../../sqlite/query.ts";
import { isAlone } from "../../log-store/log-file.ts";
import { marmotCommand } from "../../base/text/commands.ts";
import { shellWord } from "../../base/text/spans.ts";
import { FilePair } from "./file-pair.ts";

/**
 * - take: the file is the one that this node left, with the application's writes since.
 * - renew: the file is older, and no one wrote to it: it is brought up to date, and its change-log ids go on above the used ones.
 * - install: Marmot's tables are gone, and the file has every row of the replica: capture is installed again.
 */
export type FileVerdict =
  { readonly kind: "take" | "renew" | "install" } | { readonly kind: "halt"; readonly halt: Halt };

export interface InspectedFile {
  readonly file: string;
  readonly paths: DataPaths;
  readonly peerId: PeerId;
  /** The file is checked for damage in any case. */
  readonly isSuspect?: boolean;
  /** Lets other work run between slices of a long comparison. */
  readonly pause: () => Promise<void>;
}

const repair = ({ file, paths }: InspectedFile): string =>
  marmotCommand("repair", { db: file, folder: paths.folder });

/** "": there is no other member to join. */
const orJoin = ({ file, paths }: InspectedFile): string =>
  isAlone(paths.log)
    ? ""
    : `; or to join again, stop the node, move ${shellWord(file)} and ${shellWord(paths.folder)} to another place, and run marmot run with --peers`;

const choices = (inspected: InspectedFile): string =>
  `stop the applications, then ${repair(inspected)} takes the cluster's data and keeps this file and its own rows${orJoin(inspected)}`;

export const missingHalt = (inspected: InspectedFile): Halt => ({
  name: "file-replaced",
  reason: `${inspected.file} is missing`,
  hint: `put the file back, or ${repair(inspected)} builds it again from the replica`,
});

export const damagedHalt = (inspected: InspectedFile, detail: string): Halt => ({
  name: "damaged",
  reason: `${inspected.file} is damaged: ${detail}`,
  hint: `stop the applications, then ${repair(inspected)} builds the file again from the replica and keeps the damaged one${orJoin(inspected)}`,
});

const halt = (name: Halt["name"], reason: string, hint: string): FileVerdict => ({
  kind: "halt",
  halt: { name, reason, hint },
});

/** Errors of SQLite that are no damage are thrown. */
export async function inspectFile(inspected: InspectedFile): Promise<FileVerdict> {
  const { file, paths } = inspected;
  if (!existsSync(file)) return { kind: "halt", halt: missingHalt(inspected) };
  if (statSync(file).size === 0) return { kind: "halt", halt: damagedHalt(inspected, "it is empty") };
  let db: DatabaseSync | null = null;
  let replica: DatabaseSync | null = null;
  try {
    db = openAppDb(file, { timeout: LOCKED_MS });
    db.prepare("SELECT count(*) FROM sqlite_schema").get();
    const shorter = missingBytes(file, db);
    if (shorter !== null) return { kind: "halt", halt: damagedHalt(inspected, shorter) };
    replica = openDatabase(paths.replica, { readOnly: true });
    return await verdictOf(inspected, db, replica);
  } catch (error) {
    if (!isDamage(error)) throw error;
    return { kind: "halt", halt: damagedHalt(inspected, errorMessage(error)) };
  } finally {
    db?.close();
    replica?.close();
  }
}

/**
 * The file is shorter than its header says: it was truncated, or is being copied. null: it is long enough. The header is read
 * through SQLite: closing another descriptor of the file would drop its locks.
 */
function missingBytes(file: string, db: DatabaseSync): string | null {
  const { size } = statSync(file);
  if ((statSync(`${file}-wal`, { throwIfNoEntry: false })?.size ?? 0) > 0) return null; // pages may be in the WAL alone
  const { page_count: pages } = db.prepare("PRAGMA page_count").get() as { page_count: number };
  const { page_size: pageSize } = db.prepare("PRAGMA page_size").get() as { page_size: number };
  return size < pages * pageSize ? `it has ${size} of ${pages * pageSize} bytes` : null;
}

async function verdictOf(
  inspected: InspectedFile,
  db: DatabaseSync,
  replica: DatabaseSync,
): Promise<FileVerdict> {
  const { file, peerId } = inspected;
  const meta = readMeta(db, file);
  const { clusterId } = readSettings(replica, inspected.paths.replica);
  if (meta !== null && (meta.clusterId !== clusterId || meta.peerId !== peerId))
    return halt(
      "file-replaced",
      `${file} belongs to node ${meta.peerId} of cluster ${meta.clusterId}, not to this node`,
      choices(inspected),
    );
  if (meta === null || lacksTables(db) || readCaptured(db) === null || readRemembered(db) === null)
    return strippedVerdict(inspected, db, replica);
  const damage = suspectedDamage(inspected, db);
  if (damage !== null) return { kind: "halt", halt: damagedHalt(inspected, damage) };
  const pair = new FilePair(db, replica, { peerId, replicaFile: inspected.paths.replica });
  const noted = readFileNote(replica);
  const life = readFileLife(db);
  const isOlder =
    noted !== null && (life === null || life.epoch !== noted.epoch || life.life < noted.life)
      ? true
      : pair.hasLostOwnRows();
  if (!isOlder) return { kind: "take" };
  const written = pair.writtenRows();
  if (written === 0) return { kind: "renew" };
  return halt(
    "file-older",
    `${file} is an older copy of itself, and ${written === null ? "its schema or rows were" : `${written} of its rows were`} written since it was put back`,
    choices(inspected),
  );
}

/** An application dropped some of Marmot's tables, and not all. A file of an older format lacks the newer ones. */
function lacksTables(db: DatabaseSync): boolean {
  const format = queryOf(db)(`SELECT "value" FROM "__marmot__meta" WHERE "name" = 'format'`)[0]?.[0];
  const isCurrent = Number(format) === APP_DB_FORMAT;
  const names = isCurrent ? Object.keys(APP_DB_TABLES) : ["status", "table", "base", "shadow"];
  return names.some((name) => !hasTable(db, `__marmot__${name}`));
}

/** Of a file that is small or suspect; null: it is sound, or was not checked. */
const suspectedDamage = ({ isSuspect }: InspectedFile, db: DatabaseSync): string | null =>
  isSuspect === true || sizeOf(db) <= QUICK_CHECK_BYTES ? findDamage(db) : null;

/**
 * Marmot's tables are gone: every table was dropped, or another file is in place. Where every row of the replica is in the
 * file, nothing was lost. Otherwise the rows that are missing may have been deleted, or be newer than the file.
 */
async function strippedVerdict(
  inspected: InspectedFile,
  db: DatabaseSync,
  replica: DatabaseSync,
): Promise<FileVerdict> {
  const { file, paths, pause } = inspected;
  const stripped = `${file} has no tables of Marmot: they were dropped, or another file is in its place`;
  const text = (objects: readonly { kind: string; name: string; sql: string }[]): string =>
    JSON.stringify(
      objects.map((o) => [o.kind, o.name, o.sql]).sort((a, b) => String(a).localeCompare(String(b))),
    );
  if (text(readCatalogue(queryOf(db)).objects) !== text(readObjectsOf(replica)))
    return halt("file-replaced", `${stripped}; its schema is not the cluster's`, choices(inspected));
  let missing = 0;
  db.exec("BEGIN");
  try {
    await compareRows({
      ...{ left: db, right: replica, shapes: readShapes(replica) },
      encoding: readSettings(replica, paths.replica).encoding,
      onDifference: ({ right }) => (right === null ? true : ++missing === 0),
      pause,
    });
  } finally {
    db.exec("COMMIT");
  }
  if (missing === 0) return { kind: "install" };
  return halt("file-replaced", `${stripped}; rows of the cluster are missing in it`, choices(inspected));
}
