/**
 * `marmot repair`: builds the app database again from the replica. The old file stays beside it. Rows that only the old file
 * has go into the conflict journal, from which `marmot conflicts restore` brings them back.
 */
import { isReaderIn } from "../../replication/own-facts.ts";
import { existsSync, renameSync } from "node:fs";
import { isOpenElsewhere } from "../../app-db/exclusive.ts";
import { isDamage, UserError } from "../../base/errors.ts";
import type { PeerId } from "../../base/ids.ts";
import { install, newFileLife } from "../../capture/install.ts";
import { skipIds } from "../../capture/log-ids.ts";
import { settingOf } from "../../change/per-table.ts";
import type { FileRepair } from "../../operations/api.ts";
import { reserveIds } from "../../reflect/id-blocks.ts";
import { buildAppDb } from "../../replica/copies/build-app-db.ts";
import { publish, removeDatabase } from "../../replica/copies/database-files.ts";
import { readMembership } from "../../log-store/log-file.ts";
import type { DataPaths } from "../../replication/machine/data-paths.ts";
import { keepRejectedRows } from "../../schema-sync/keep-rejects.ts";
import { type KeptRow, salvage } from "./salvage.ts";
import { orderedIds, storeNote } from "../startup/ordered-ids.ts";
import { slotFrom } from "../joining/join-cluster.ts";

/** Rows that go into the journal at most: it keeps 10,000 entries, and other conflicts need room. The old file has all. */
const JOURNALLED = 1000;
const REASON = "the row was only in the file that marmot repair replaced";

export interface RepairedFile {
  readonly db: string;
  readonly paths: DataPaths;
  readonly peerId: PeerId;
}

export interface RepairComponents {
  readonly wallTime: () => number;
  /** Called with the number of rows built. */
  readonly onProgress: (rows: number) => void;
}

/** Nothing of this process may be open on the file or the replica. Throws `UserError`; the file is unchanged then. */
export async function repairFile(
  { db: file, paths, peerId }: RepairedFile,
  { wallTime, onProgress }: RepairComponents,
): Promise<FileRepair> {
  requireUnused(file);
  const kept = existsSync(file) ? salvage(file, paths, peerId) : { rows: [], unreadable: [] };
  const life = newFileLife();
  const fresh = `${file}.repaired`;
  removeDatabase(fresh);
  await buildAppDb({
    replica: paths.replica,
    appDb: fresh,
    prepare: (built, settings, shapes, position) => {
      const used = orderedIds(paths, peerId);
      install(built, shapes, {
        ...{ clusterId: settings.clusterId, peerId, schemaVersion: settings.schemaVersion, position, life },
        usedIds: used,
        isReader: isReaderIn(readMembership(paths.log).at.members, peerId) === true,
      });
      skipIds(built, used);
      reserveIds(built, shapes, (table) => settingOf(settings.idBlock, table), slotFrom(paths, peerId));
      keepRejectedRows(built, kept.rows.slice(0, JOURNALLED).map(rejectOf));
    },
    onProgress,
  });
  // Before the file: a crash in between finds a file of another epoch, as it did before.
  storeNote(paths, life);
  const before = existsSync(file) ? keepOld(file, wallTime()) : null;
  publish(fresh, file);
  const tables = Map.groupBy(kept.rows, ({ shape }) => shape.name);
  return {
    file,
    before,
    rows: [...tables].map(([table, rows]) => ({ table, rows: rows.length })),
    journalled: Math.min(kept.rows.length, JOURNALLED),
    unreadable: kept.unreadable,
  };
}

const rejectOf = ({ shape, image }: KeptRow): Parameters<typeof keepRejectedRows>[1][number] => ({
  table: shape.name,
  columns: shape.columns.map((c) => c.name),
  reason: REASON,
  values: image,
});

function requireUnused(file: string): void {
  if (!existsSync(file)) return;
  let used: boolean;
  try {
    used = isOpenElsewhere(file);
  } catch (error) {
    if (!isDamage(error)) throw error;
    return; // its locks cannot be asked for
  }
  if (used)
    throw new UserError(
      `an application has ${file} open, and would go on in the old file`,
      "stop the applications that use the file, and give the command again",
    );
}

/** Moves the old file aside, with its WAL. Returns its new path. */
function keepOld(file: string, now: number): string {
  const time = new Date(now).toISOString().replace(/[-:]/g, "").replace(/\..*/, "Z");
  let to = `${file}.before-${time}`;
  for (let i = 2; existsSync(to); i++) to = `${file}.before-${time}-${i}`;
  for (const suffix of ["-wal", "-shm", "-journal", ""])
    if (existsSync(file + suffix)) renameSync(file + suffix, to + suffix);
  return to;
}
