/**
 * Rows of this node's file that no trigger saw: published, which orders the file's version as an ordinary write of this node,
 * or repaired, which shows the replica's again and keeps the discarded one in the conflict journal.
 */
import { type Clock, sleep } from "../../base/clock.ts";
import { UserError } from "../../base/errors.ts";
import { keyValues } from "../../change/key.ts";
import { requireWriter } from "../restore/in-file.ts";
import type { Replicator } from "../../replication/replicator.ts";
import { readChangeLogs } from "../../rows/change-logs.ts";
import { writeLogKeys } from "../../rows/log-keys.ts";
import { isBusy } from "../../sqlite/locked.ts";
import { type AppDatabase, openAppDb } from "../../sqlite/open-app-db.ts";
import { commitAfter } from "../../sqlite/transaction.ts";
import type { VerifyDifference } from "../api.ts";
import { compareFile, differenceOf, type FoundRow } from "./compare-file.ts";

const LOOK_MS = 10;
/** Log rows written in one transaction. */
const LOGGED_AT_ONCE = 500;
/** How long an application may hold the write lock, or a quorum be missing. */
const PATIENCE_MS = 30_000;
/** Comparisons in which ever new rows are found: the file is then written all the time without triggers. */
const MAX_ROUNDS = 100;

interface Components {
  readonly replicator: Replicator;
  readonly clock: Clock;
}

interface Settled {
  readonly published: number;
  readonly repaired: number;
  /** The rows that do not differ any more. */
  readonly done: readonly VerifyDifference[];
  /** Those that still do. */
  readonly left: readonly FoundRow[];
}

export async function settleFile(
  components: Components,
  found: readonly FoundRow[],
  options: { readonly repair: boolean; readonly publish: object | null; readonly table: number | null },
): Promise<Settled> {
  const { replicator, clock } = components;
  if (options.publish !== null) requireWriter(replicator);
  const isWanted = ({ table, isComputed }: FoundRow): boolean =>
    options.publish === null
      ? options.repair
      : !isComputed && (options.table === null || table.id === options.table);
  const what = options.publish === null ? "repaired" : "published";
  const done: VerifyDifference[] = [];
  let left = found;
  for (let round = 0; round < MAX_ROUNDS; round++) {
    const wanted = left.filter(isWanted);
    if (wanted.length === 0) break;
    await (options.publish === null ? repair(components, wanted) : publish(components, wanted));
    left = (await compareFile({ replicator, clock })).found;
    const still = new Set(left.map((row) => nameOf(row)));
    const gone = wanted.filter((row) => !still.has(nameOf(row)));
    for (const row of gone) {
      const difference = differenceOf(replicator.options.name, row);
      done.push({ ...difference, detail: `${difference.detail}; ${what}` });
    }
    if (gone.length === 0) break;
  }
  for (const { table, keyId, inFile } of left) if (inFile !== null) replicator.unseen.note(table.id, keyId);
  const count = { published: 0, repaired: 0, [what]: done.length };
  return { ...count, done, left };
}

const nameOf = ({ table, keyId, isComputed }: FoundRow): string => `${table.id}/${isComputed}/${keyId}`;

async function repair({ replicator, clock }: Components, rows: readonly FoundRow[]): Promise<void> {
  const { replica } = replicator.replica;
  for (const { table, keyId, inFile } of rows) {
    if (inFile !== null) replicator.unseen.note(table.id, keyId);
    const key = keyValues(table, keyId);
    replica.changed.set(table.id, keyId, { key, image: replica.row(table.id, key) });
  }
  const isShown = ({ table, keyId }: FoundRow): boolean =>
    replicator.unseen.get(table.id, keyId) === undefined &&
    replica.changed.get(table.id, keyId) === undefined;
  await until(
    { replicator, clock },
    () => rows.every(isShown),
    "the discarded rows did not get into the conflict journal in time",
  );
}

async function publish({ replicator, clock }: Components, rows: readonly FoundRow[]): Promise<void> {
  const db = openAppDb(replicator.options.db);
  const newest = new Map<number, number>();
  try {
    const logs = readChangeLogs(db);
    for (const [table, of] of Map.groupBy(rows, (row) => row.table)) {
      const log = logs.find(({ id }) => id === table.id)?.log;
      if (log === undefined) continue;
      const keys = of.map(({ keyId }) => keyValues(table, keyId));
      for (let i = 0; i < keys.length; i += LOGGED_AT_ONCE)
        await writing(db, clock, () =>
          writeLogKeys(db, { shape: table, log }, keys.slice(i, i + LOGGED_AT_ONCE)),
        );
    }
  } finally {
    db.close();
  }
  for (const [table, id] of replicator.reader.newestIds()) newest.set(table, id);
  await until(
    { replicator, clock },
    () => [...newest].every(([table, id]) => replicator.pipeline.unordered(table, id) === 0),
    "no quorum ordered the published rows in time",
  );
}

async function until(
  { replicator, clock }: Components,
  condition: () => boolean,
  otherwise: string,
): Promise<void> {
  for (const end = clock.now() + PATIENCE_MS; !condition(); await sleep(clock, LOOK_MS)) {
    if (clock.now() > end)
      throw new UserError(
        otherwise,
        "run marmot status: it shows what this node waits for; then verify again",
      );
    replicator.pipeline.touch();
    replicator.loop.wake();
  }
}

async function writing(db: AppDatabase, clock: Clock, work: () => void): Promise<void> {
  for (const end = clock.now() + PATIENCE_MS; ; await sleep(clock, LOOK_MS))
    try {
      db.beginWriting();
      commitAfter(db, work);
      return;
    } catch (error) {
      if (!isBusy(error)) throw error;
      if (clock.now() > end)
        throw new UserError(
          "an application holds the write lock of the file",
          "end its transaction, and verify again",
          { cause: error },
        );
    }
}
