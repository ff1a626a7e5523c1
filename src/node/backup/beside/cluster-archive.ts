/** The archive as a setting of the cluster: stored when it is formed, and used by nodes without the option. */
import { resolve } from "node:path";
import { Archive, openStore } from "../../../archive/archive.ts";
import { openSeal } from "../../../archive/seal.ts";
import { UserError } from "../../../base/errors.ts";
import type { ArchiveSetting } from "../../../replica/store/settings.ts";
import { isArchive } from "../restore-archive.ts";
import type { ArchiverOptions } from "./archiver.ts";

export const isFolder = (to: string): boolean => !to.startsWith("s3://");

/** The path of a folder as each node can use it. */
export function archiveSetting(archive: ArchiverOptions | null | undefined): ArchiveSetting | null {
  if (archive == null) return null;
  const { to, intervalMs, keep } = archive;
  return { to: isFolder(to) ? resolve(to) : to, intervalMs, keep };
}

/** Throws `UserError` for a key that cannot be read. */
export async function requireArchiveKey(archive: ArchiverOptions | null | undefined): Promise<void> {
  if (archive != null) await openSeal(archive.keyFile);
}

/** Throws `UserError` if a new cluster would write into an archive. A store that does not answer is asked later. */
export async function refuseUsedArchive(archive: ArchiverOptions | null | undefined): Promise<void> {
  if (archive == null || !(await isThere(archive.to))) return;
  const present = await Archive.open(openStore(archive.to), await openSeal(archive.keyFile));
  if (present === null) return;
  throw new UserError(
    `--archive ${archive.to} has the archive of the cluster ${present.document.cluster}; this start forms a new cluster`,
    "give --archive a new folder or prefix",
  );
}

/** Also false if the store does not answer. */
async function isThere(to: string): Promise<boolean> {
  try {
    return await isArchive(to);
  } catch {
    return false;
  }
}
