/** File systems on which SQLite's WAL cannot work: its shared memory and its locks are not the same on all machines. */
import { existsSync, statfsSync } from "node:fs";
import { dirname, resolve } from "node:path";

/** `f_type` of Linux's statfs, from its magic.h. virtiofs has the number of FUSE. */
const REFUSED: ReadonlyMap<number, string> = new Map([
  [0x6969, "NFS"],
  [0xff534d42, "CIFS"],
  [0xfe534d42, "SMB"],
  [0x517b, "SMB"],
  [0x65735546, "FUSE or virtiofs"],
  [0x01021997, "9p"],
  [0x00c36400, "Ceph"],
  [0x0bd00bd3, "Lustre"],
  [0x5346414f, "AFS"],
  [0x786f4256, "a folder shared by VirtualBox"],
  [0xbacbacbc, "a folder shared by VMware"],
]);

/** The file system's type of a folder that exists. */
export type FileSystemType = (folder: string) => number;

const systemType: FileSystemType = (folder) => {
  // Elsewhere the numbers mean other file systems.
  if (process.platform !== "linux") return 0;
  return Number(statfsSync(folder).type) >>> 0;
};

export interface FileSystemProblem {
  readonly message: string;
  readonly hint: string;
}

/** Of the application's file and of the data directory, in words; none exist where both are on a local file system. */
export function fileSystemProblems(
  db: string,
  dataDir: string | null,
  typeOf: FileSystemType = systemType,
): FileSystemProblem[] {
  const places: [what: string, path: string][] = [[db, resolve(db)]];
  if (dataDir !== null) places.push([dataDir, resolve(dataDir)]);
  const problems: FileSystemProblem[] = [];
  for (const [what, path] of places) {
    const kind = kindOf(path, typeOf);
    if (kind === null) continue;
    problems.push({
      message: `${what} should be on a local file system, but it is on ${kind}, where SQLite's WAL can damage the file`,
      hint: "move it to a local disk; --unsafe-filesystem runs there all the same",
    });
  }
  return problems;
}

function kindOf(path: string, typeOf: FileSystemType): string | null {
  // A file has its own type where it is a mount of its own; one that does not exist will have its folder's.
  let place = path;
  while (!existsSync(place) && dirname(place) !== place) place = dirname(place);
  try {
    return REFUSED.get(typeOf(place) >>> 0) ?? null;
  } catch {
    return null; // it cannot be read, which is reported elsewhere
  }
}
