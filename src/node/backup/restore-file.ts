/** `marmot restore SOURCE --db FILE`: the first file of a new cluster, from a backup or a plain SQLite file. */
import {
  closeSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  openSync,
  readSync,
  statSync,
  writeSync,
} from "node:fs";
import { dirname, resolve } from "node:path";
import { errorMessage, UserError } from "../../base/errors.ts";
import { removeDatabase } from "../../replica/copies/database-files.ts";
import { dataPaths } from "../../replication/machine/data-paths.ts";
import { PREFIX } from "../../schema/app-db-tables.ts";
import { openDatabase } from "../../sqlite/open.ts";
import { readRows, text } from "../../sqlite/typed-rows.ts";
import type { BackupFolder } from "./places/backup-folder.ts";
import { folderError, publishNew } from "./places/local-folder.ts";
import { backupPlace } from "./places/place.ts";
import { readSidecar, type Sidecar, sidecarName } from "./sidecar.ts";
import { checkIntegrity, join } from "./take-backup.ts";

export interface RestoredFile {
  readonly file: string;
  readonly source: string;
  /** null: the source has no document of a backup. */
  readonly backup: Sidecar | null;
}

export interface RestoreFileOptions {
  /** A backup, a folder or prefix of backups (then the newest), or a plain SQLite file. */
  readonly source: string;
  readonly db: string;
  readonly dataDir: string;
}

/** Throws `UserError`; nothing is at the path of the file then. */
export async function restoreFile({ source, db, dataDir }: RestoreFileOptions): Promise<RestoredFile> {
  refuseUsed(db, dataDir);
  // Two commands for one file must not meet in one copy.
  const fresh = `${db}.${crypto.randomUUID().slice(0, 8)}.restoring`;
  try {
    mkdirSync(dirname(resolve(db)), { recursive: true });
    removeDatabase(fresh);
    const fetched = await fetchBackup(source, fresh, dataPaths(dataDir).backups);
    refuseUsed(db, dataDir);
    publishNew(fresh, db);
    return { file: db, ...fetched };
  } catch (error) {
    throw folderError(error, dirname(resolve(db)));
  } finally {
    removeDatabase(fresh);
  }
}

/** Copies a backup to `target`, and proves that it is whole and has nothing of Marmot. */
export async function fetchBackup(
  source: string,
  target: string,
  scratch: string,
): Promise<Omit<RestoredFile, "file">> {
  const { folder, name: given } = backupPlace(source, scratch);
  const name = given ?? (await newestIn(folder));
  const at = join(folder, name);
  if (!(await folder.has(name)))
    throw new UserError(`there is no ${at}`, "check the path; marmot backup prints where it puts a backup");
  const document = await folder.text(sidecarName(name));
  const backup = document === null ? null : readSidecar(document, sidecarName(at));
  const copied = await copy(folder, name, target);
  if (backup !== null && (copied.sha256 !== backup.sha256 || copied.bytes !== backup.bytes))
    throw new UserError(
      `${at} is not the file that its document describes: ${copied.bytes} bytes with SHA-256 ${copied.sha256}, expected ${backup.bytes} with ${backup.sha256}`,
      "restore another backup: this one was changed or is incomplete",
    );
  if (backup === null && !source.startsWith("s3://")) copyBeside(at, target);
  requireClean(target, at);
  checkIntegrity(target, at);
  return { source: at, backup };
}

export function refuseUsed(db: string, dataDir: string): void {
  for (const path of [db, `${db}-wal`, dataPaths(dataDir).replica])
    if (existsSync(path))
      throw new UserError(
        `${path} exists; restore makes the first file of a new cluster`,
        "give --db a new path, or --into-cluster to put the content into the running cluster",
      );
}

async function newestIn(folder: BackupFolder): Promise<string> {
  const complete = await completeBackups(folder);
  if (complete.length > 0) return complete.at(-1)!;
  const named = await namedBackups(folder);
  if (named.length > 0) return named.at(-1)!;
  throw new UserError(
    `${folder.shown} holds no complete backup`,
    "name a file, or a folder that marmot backup wrote to",
  );
}

/** Backups under names that users gave, the oldest first. */
async function namedBackups(folder: BackupFolder): Promise<string[]> {
  const names = new Set(await folder.names());
  const found: { name: string; time: string }[] = [];
  for (const name of names) {
    if (!names.has(sidecarName(name))) continue;
    const document = await folder.text(sidecarName(name));
    if (document !== null)
      found.push({ name, time: readSidecar(document, join(folder, sidecarName(name))).time });
  }
  return found.sort((a, b) => a.time.localeCompare(b.time)).map(({ name }) => name);
}

/** Names of the backups with a document, the oldest first. */
export async function completeBackups(folder: BackupFolder): Promise<string[]> {
  const names = new Set(await folder.names());
  const timed = [...names].filter((name) => isTimed(name) && names.has(sidecarName(name)));
  return timed.sort((a, b) => (timeIn(a) < timeIn(b) ? -1 : timeIn(a) > timeIn(b) ? 1 : a < b ? -1 : 1));
}

const TIMED = /-(\d{8}T\d{6}Z)(?:-\d+)?\.db$/;
const isTimed = (name: string): boolean => TIMED.test(name);
/** The time in the name of a backup, as text that sorts. */
const timeIn = (name: string): string => TIMED.exec(name)![1]!;

/** When a backup of this name was taken, in milliseconds. */
export const takenAt = (name: string): number =>
  Date.parse(timeIn(name).replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)/, "$1-$2-$3T$4:$5:"));

async function copy(
  folder: BackupFolder,
  name: string,
  target: string,
): Promise<{ bytes: number; sha256: string }> {
  const hasher = new Bun.CryptoHasher("sha256");
  const out = openSync(target, "wx", 0o600);
  let bytes = 0;
  try {
    for await (const chunk of folder.stream(name)) {
      hasher.update(chunk);
      for (let at = 0; at < chunk.length;) at += writeSync(out, chunk, at);
      bytes += chunk.length;
    }
  } finally {
    closeSync(out);
  }
  return { bytes, sha256: hasher.digest("hex") };
}

const HEADER = "SQLite format 3\0";

/** Commits of a plain database may be in its WAL, and a transaction that was cut off in its journal. */
function copyBeside(source: string, target: string): void {
  for (const suffix of ["-wal", "-journal"]) {
    const size = statSync(source + suffix, { throwIfNoEntry: false })?.size ?? 0;
    if (size > 0) copyFileSync(source + suffix, target + suffix);
  }
}

function requireClean(path: string, source: string): void {
  const hint = "name a backup that marmot backup made, or a plain SQLite file";
  if (statSync(path).size === 0) throw new UserError(`${source} is empty`, hint);
  if (readHeader(path) !== HEADER) throw new UserError(`${source} is no SQLite file`, hint);
  const db = openDatabase(path);
  try {
    db.exec("PRAGMA journal_mode = DELETE");
    const rows = db.prepare("SELECT name FROM sqlite_schema").all();
    if (!readRows(rows, { name: text }).some(({ name }) => name.startsWith(PREFIX))) return;
  } catch (error) {
    throw new UserError(`${source} cannot be read: ${errorMessage(error)}`, hint, { cause: error });
  } finally {
    db.close();
  }
  throw new UserError(
    `${source} is a node's own file: it has tables of Marmot`,
    `take a backup with marmot backup, or copy it and run marmot cleanup on the copy`,
  );
}

function readHeader(path: string): string {
  const descriptor = openSync(path, "r");
  const bytes = Buffer.alloc(HEADER.length);
  readSync(descriptor, bytes, 0, bytes.length, 0);
  closeSync(descriptor);
  return bytes.toString("latin1");
}
