/** `marmot backup`: a clean copy of the application's database at one position, from the replica, with its document. */
import { createReadStream, existsSync, fstatSync, openSync, closeSync, readdirSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { UserError } from "../../base/errors.ts";
import { showPosition } from "../../base/text/position-token.ts";
import { VERSION } from "../../base/version.ts";
import { exportReplica, type Exported } from "../../replica/copies/export-replica.ts";
import { removeDatabase } from "../../replica/copies/database-files.ts";
import { dataPaths } from "../../replication/machine/data-paths.ts";
import { openDatabase } from "../../sqlite/open.ts";
import { text, readRow } from "../../sqlite/typed-rows.ts";
import type { BackupFolder } from "./places/backup-folder.ts";
import { folderError } from "./places/local-folder.ts";
import { backupPlace } from "./places/place.ts";
import { newSidecar, type Sidecar, sidecarName } from "./sidecar.ts";

export interface BackupOptions {
  readonly dataDir: string;
  /** FILE, DIR, s3://BUCKET/KEY or s3://BUCKET/PREFIX/. */
  readonly to: string;
  /** The beginning of names in a folder. */
  readonly base: string;
  readonly host: string;
  readonly now: number;
}

export interface Backup extends Sidecar {
  /** Where it is. */
  readonly at: string;
}

/** Throws `UserError`. A failure leaves nothing at the place. */
export async function takeBackup(
  options: BackupOptions,
  onProgress: (rows: number, table: string) => void = () => {},
): Promise<Backup> {
  const paths = dataPaths(options.dataDir);
  requireReadable(options.dataDir);
  if (!existsSync(paths.replica))
    throw new UserError(
      `${options.dataDir} holds no replica to back up`,
      "check --db and --data-dir; a node that joins has its replica when marmot status shows it as ready",
    );
  const { folder, name: given } = backupPlace(options.to, paths.backups);
  const name = given ?? (await freeName(folder, options));
  requireOutside(options);
  await requireFree(folder, name);
  const path = await folder.buildAt(name);
  try {
    try {
      const exported = await exportReplica(paths.replica, path, onProgress);
      checkIntegrity(path, path);
      const sidecar = newSidecar({ ...(await factsOf(path, exported)), ...contextOf(name, options) });
      await publishBoth(folder, name, `${JSON.stringify(sidecar, null, 2)}\n`);
      return { ...sidecar, at: join(folder, name) };
    } finally {
      removeDatabase(path);
    }
  } catch (error) {
    throw folderError(error, dirname(path));
  }
}

/** The data directory is its owner's alone. */
function requireReadable(dataDir: string): void {
  try {
    readdirSync(dataDir);
  } catch (error) {
    if ((error as { code?: string }).code !== "EACCES") return;
    throw new UserError(
      `${dataDir} cannot be read: this user has no permission`,
      "give the command as the user that runs the node, for example with sudo -u USER",
      { cause: error },
    );
  }
}

function requireOutside({ to, dataDir }: BackupOptions): void {
  if (to.startsWith("s3://") || !`${resolve(to)}/`.startsWith(`${resolve(dataDir)}/`)) return;
  throw new UserError(
    `${to} is in ${dataDir}, the node's own folder`,
    "name a folder beside it, better on another disk",
  );
}

/** SQLite's own files beside a database. */
const BESIDE = /-(?:wal|shm|journal)$/;

async function requireFree(folder: BackupFolder, name: string): Promise<void> {
  if (BESIDE.test(name))
    throw new UserError(
      `${join(folder, name)} is the name of a file that SQLite keeps beside a database`,
      "give a name such as copy.db",
    );
  for (const one of [name, sidecarName(name)])
    if (await folder.has(one))
      throw new UserError(
        `${join(folder, one)} exists`,
        "give another name, or a folder in which each backup gets a name with its time",
      );
}

/** The document is last: without it there is no backup. */
async function publishBoth(folder: BackupFolder, name: string, document: string): Promise<void> {
  await folder.put(name);
  try {
    await folder.putText(sidecarName(name), document);
  } catch (error) {
    await folder.remove(name).catch(() => {});
    throw error;
  }
}

export const join = ({ shown }: BackupFolder, name: string): string =>
  shown === "." ? name : `${shown.replace(/\/$/, "")}/${name}`;

/** `app-20261129T120000Z.db`: names of one node sort by time. */
async function freeName(folder: BackupFolder, { base, now }: BackupOptions): Promise<string> {
  const time = new Date(now).toISOString().replace(/[-:]/g, "").replace(/\..*/, "Z");
  for (let i = 1; ; i++) {
    const name = `${base}-${time}${i === 1 ? "" : `-${i}`}.db`;
    if (!(await folder.has(name))) return name;
  }
}

/** Throws `UserError` if SQLite finds damage. `shown`: the file as the user named it. */
export function checkIntegrity(path: string, shown: string): void {
  const db = openDatabase(path, { readOnly: true });
  try {
    const { integrity_check: found } = readRow(db.prepare("PRAGMA integrity_check(1)").get(), {
      integrity_check: text,
    });
    if (found !== "ok")
      throw new UserError(
        `${shown} is damaged: ${found.replace(/^\*\*\* in database main \*\*\*\n/, "").replaceAll("\n", "; ")}`,
        "use another copy, or another node's; marmot verify --deep compares this node's data with the others'",
      );
  } finally {
    db.close();
  }
}

async function factsOf(
  path: string,
  { settings, positions, rows, withoutRows }: Exported,
): Promise<Omit<Sidecar, "format" | "integrity" | "file" | "time" | "host" | "marmot">> {
  const { clusterId: cluster, schemaVersion } = settings;
  const content = {
    position: showPosition(positions),
    cluster,
    schemaVersion,
    rows,
    withoutRows: [...withoutRows],
  };
  return { ...content, bytes: sizeOf(path), sha256: await hashOf(path) };
}

const contextOf = (
  file: string,
  { host, now }: BackupOptions,
): Pick<Sidecar, "file" | "time" | "host" | "marmot"> => ({
  ...{ file, host, marmot: VERSION },
  time: new Date(now).toISOString(),
});

function sizeOf(path: string): number {
  const descriptor = openSync(path, "r");
  try {
    return fstatSync(descriptor).size;
  } finally {
    closeSync(descriptor);
  }
}

export async function hashOf(path: string): Promise<string> {
  const hasher = new Bun.CryptoHasher("sha256");
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 }))
    hasher.update(chunk as Uint8Array);
  return hasher.digest("hex");
}
