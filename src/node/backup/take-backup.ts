/** `marmot backup`: a clean copy of the application's database at one position, from the replica, with its document. */
import { createReadStream, existsSync, fstatSync, openSync, closeSync } from "node:fs";
import { UserError } from "../../base/errors.ts";
import { showPosition } from "../../base/text/position-token.ts";
import { VERSION } from "../../base/version.ts";
import { exportReplica, type Exported } from "../../replica/copies/export-replica.ts";
import { removeDatabase } from "../../replica/copies/database-files.ts";
import { dataPaths } from "../../replication/machine/data-paths.ts";
import { openDatabase } from "../../sqlite/open.ts";
import { text, readRow } from "../../sqlite/typed-rows.ts";
import { backupPlace, type BackupFolder } from "./place.ts";
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
  if (!existsSync(paths.replica))
    throw new UserError(
      `${options.dataDir} holds no replica to back up`,
      "check --db and --data-dir; a node that joins has its replica when marmot status shows it as ready",
    );
  const { folder, name: given } = backupPlace(options.to, paths.backups);
  const name = given ?? (await freeName(folder, options));
  if (await folder.has(name))
    throw new UserError(
      `${join(folder, name)} exists`,
      "give another name, or a folder in which each backup gets a name with its time",
    );
  const path = folder.buildAt(name);
  removeDatabase(path);
  try {
    const exported = await exportReplica(paths.replica, path, onProgress);
    checkIntegrity(path);
    const sidecar = newSidecar({ ...(await factsOf(path, exported)), ...contextOf(name, options) });
    await folder.put(name);
    await folder.putText(sidecarName(name), `${JSON.stringify(sidecar, null, 2)}\n`);
    return { ...sidecar, at: join(folder, name) };
  } finally {
    removeDatabase(path);
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

/** Throws `UserError` if SQLite finds damage. */
export function checkIntegrity(path: string): void {
  const db = openDatabase(path, { readOnly: true });
  try {
    const { integrity_check: found } = readRow(db.prepare("PRAGMA integrity_check(1)").get(), {
      integrity_check: text,
    });
    if (found !== "ok")
      throw new UserError(
        `${path} is damaged: ${found}`,
        "use another copy; marmot verify --deep tells whether the replica of this node is whole",
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
