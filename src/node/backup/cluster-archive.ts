/** The archive as a setting of the cluster: stored when it is formed, and used by nodes without the option. */
import { resolve } from "node:path";
import { Archive, openStore } from "../../archive/archive.ts";
import { openSeal } from "../../archive/seal.ts";
import { UserError } from "../../base/errors.ts";
import type { ArchiveSetting } from "../../replica/store/settings.ts";
import type { ArchiverOptions } from "./archiver.ts";

export const isFolder = (to: string): boolean => !to.startsWith("s3://");

/** The path of a folder as each node can use it. */
export function archiveSetting(archive: ArchiverOptions | null | undefined): ArchiveSetting | null {
  if (archive == null) return null;
  const { to, intervalMs, keep } = archive;
  return { to: isFolder(to) ? resolve(to) : to, intervalMs, keep };
}

/** Throws `UserError` if a new cluster would write into an archive. A store that does not answer is asked later. */
export async function refuseUsedArchive(archive: ArchiverOptions | null | undefined): Promise<void> {
  if (archive == null) return;
  const seal = await openSeal(archive.keyFile);
  let present: Archive | null;
  try {
    present = await Archive.open(openStore(archive.to), seal);
  } catch (error) {
    if (error instanceof UserError && isFolder(archive.to)) throw error;
    return;
  }
  if (present === null) return;
  throw new UserError(
    `--archive ${archive.to} has the archive of the cluster ${present.document.cluster}; this start forms a new cluster`,
    "give --archive a new folder or prefix",
  );
}
