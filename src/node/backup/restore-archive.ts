/** A moment from an archive as a plain SQLite file, and the proof that an archive can be restored. */
import { rmSync } from "node:fs";
import { type Archive, firstOf, openArchive } from "../../archive/archive.ts";
import { replay, type Replayed, type Target } from "../../archive/replay.ts";
import { systemClock } from "../../base/clock.ts";
import { showPosition } from "../../base/text/position-token.ts";
import { exportReplica } from "../../replica/copies/export-replica.ts";
import { removeDatabase } from "../../replica/copies/database-files.ts";
import { awaitTarget } from "./archive-target.ts";
import { publishNew } from "./places/local-folder.ts";
import { backupPlace, isFolder } from "./places/place.ts";
import { refuseUsed } from "./restore-file.ts";
import { checkIntegrity } from "./take-backup.ts";

export interface RestoredMoment {
  /** The archive. */
  readonly source: string;
  readonly position: string;
  /** Since when the cluster was there. */
  readonly time: string;
  /** The snapshot link, and the entries after it that were applied. */
  readonly snapshot: number;
  readonly entries: number;
  /** The checksums were compared with those that the cluster had at this position. */
  readonly checked: boolean;
  /** Table ⇒ rows. */
  readonly rows: Readonly<Record<string, number>>;
}

/** There is an archive at the place. */
export const isArchive = async (place: string): Promise<boolean> =>
  /^s3:\/\/[^/]+\/.+$/.test(place) || (!place.includes("://") && isFolder(place))
    ? (await backupPlace(`${place.replace(/\/+$/, "")}/`, "").folder.text("archive.json")) !== null
    : false;

export interface MomentOptions {
  /** DIR or s3://BUCKET/PREFIX. */
  readonly source: string;
  readonly keyFile: string | null;
  readonly target: Target;
  readonly onProgress?: (entries: number) => void;
}

/** Throws `UserError`; nothing is at the path of the file then. */
export async function restoreMoment(
  options: MomentOptions,
  { db, dataDir }: { readonly db: string; readonly dataDir: string },
): Promise<RestoredMoment & { readonly file: string }> {
  refuseUsed(db, dataDir);
  const fresh = `${db}.${crypto.randomUUID().slice(0, 8)}.restoring`;
  try {
    const moment = await writeMoment(options, fresh);
    refuseUsed(db, dataDir);
    publishNew(fresh, db);
    return { file: db, ...moment };
  } finally {
    removeDatabase(fresh);
  }
}

/** Makes the file `target`. The caller removes it. */
export async function writeMoment(options: MomentOptions, target: string): Promise<RestoredMoment> {
  const archive = await openArchive(options.source, options.keyFile);
  await awaitTarget(archive, options.target, systemClock);
  return writeFrom(archive, options, target);
}

async function writeFrom(
  archive: Archive,
  { target: moment, onProgress }: MomentOptions,
  target: string,
): Promise<RestoredMoment> {
  const file = `${target}.replica`;
  removeDatabase(file);
  removeDatabase(target);
  try {
    const replayed = await replay({
      archive,
      target: moment,
      file,
      ...(onProgress === undefined ? {} : { onProgress }),
    });
    const { rows } = await exportReplica(file, target);
    checkIntegrity(target, `the state at ${showPosition(replayed.positions)}`);
    return { source: archive.shown, ...shown(replayed), rows };
  } finally {
    removeDatabase(file);
  }
}

const shown = ({
  positions,
  time,
  snapshot,
  entries,
  checked,
}: Replayed): Omit<RestoredMoment, "source" | "rows"> => ({
  position: showPosition(positions),
  time: new Date(time).toISOString(),
  ...{ snapshot, entries, checked },
});

export interface VerifiedArchive extends RestoredMoment {
  readonly cluster: string;
  readonly encrypted: boolean;
  /** Links that were read, from the first to the last. */
  readonly links: number;
  readonly firstLink: number;
  readonly snapshots: number;
  /** Positions that cannot be restored, since they were not shipped in time: from and to. */
  readonly gaps: readonly { readonly after: string; readonly until: string }[];
  /** The earliest position that can be restored, and its time. */
  readonly first: string;
  readonly firstTime: string;
}

export interface VerifyArchiveOptions {
  readonly source: string;
  readonly keyFile: string | null;
  /** Only the chain from the newest snapshot on. */
  readonly newest: boolean;
}

/** Reads the whole chain, and restores the newest state. Throws `UserError` if anything is missing or changed. */
export async function verifyArchive(
  { source, keyFile, newest }: VerifyArchiveOptions,
  scratch: string,
): Promise<VerifiedArchive> {
  const archive = await openArchive(source, keyFile);
  const chain = await readChain(archive, newest);
  const target = `${scratch}/newest.db`;
  try {
    const moment = await writeFrom(archive, { source, keyFile, target: { kind: "newest" } }, target);
    const { cluster, key } = archive.document;
    return { ...moment, cluster, encrypted: key !== "", ...chain };
  } finally {
    rmSync(target, { force: true });
  }
}

async function readChain(
  archive: Archive,
  newest: boolean,
): Promise<Pick<VerifiedArchive, "links" | "firstLink" | "snapshots" | "gaps" | "first" | "firstTime">> {
  const markers = await archive.snapshots();
  const whole = (await archive.extent()) ?? { first: 1, last: 0 };
  const extent = newest ? { ...whole, first: markers.at(-1)?.number ?? whole.first } : whole;
  const [oldest] = markers;
  const gaps: { after: string; until: string }[] = [];
  let before = "";
  let links = 0;
  for await (const { link } of archive.walk(extent.first, extent.last)) {
    links += link.number - firstOf(link) + 1;
    if (link.kind === "snapshot" && link.gap && before !== "")
      gaps.push({ after: before, until: showPosition(link.positions) });
    before = showPosition(link.to);
  }
  return {
    ...{ links, firstLink: extent.first, snapshots: markers.length, gaps },
    first: oldest === undefined ? "" : showPosition(oldest.positions),
    firstTime: oldest === undefined ? "" : new Date(oldest.at).toISOString(),
  };
}
