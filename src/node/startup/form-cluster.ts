/** Forms a new cluster with one member from the application's file. */
import { randomBytes } from "node:crypto";
import type { DatabaseSync } from "node:sqlite";
import type { Clock } from "../../base/clock.ts";
import { UserError } from "../../base/errors.ts";
import type { PeerId } from "../../base/ids.ts";
import { foldName } from "../../base/names.ts";
import { install, readCaptured, uninstall } from "../../capture/install.ts";
import { forAll, type PerTable } from "../../change/per-table.ts";
import { createLog } from "../../log-store/log-file.ts";
import { removeDatabase } from "../../replica/copies/database-files.ts";
import { createReplica } from "../../replica/copies/initial-import.ts";
import { numberTables } from "../../replica/store/schema-store.ts";
import {
  DEFAULT_ID_BLOCK,
  type ForeignKeyMode,
  type MergeMode,
  type ReplicaSettings,
  type ArchiveSetting,
} from "../../replica/store/settings.ts";
import { readCatalogue } from "../../schema/catalogue.ts";
import { type ClassifiedTable, classify } from "../../schema/classify/classify.ts";
import { replicates } from "../../schema/classify/table-verdict.ts";
import type { Selection } from "../../schema/selection.ts";
import { shapeOf } from "../../schema/read-shape.ts";
import type { GroupConfiguration } from "../../shard/seams.ts";
import { findDamage, QUICK_CHECK_BYTES, sizeOf } from "../../sqlite/damage.ts";
import { LOCKED_MS } from "../../sqlite/locked.ts";
import { openAppDb } from "../../sqlite/open-app-db.ts";
import { queryOf } from "../../sqlite/query.ts";
import { readTable } from "../../sqlite/schema.ts";
import type { SqliteVersion } from "../../sqlite/versions/sqlite-version.ts";
import type { DataPaths } from "../../replication/machine/data-paths.ts";
import { salvageHint } from "./file-access.ts";
import { type OnProgress, remainingMs } from "../../replication/machine/work-progress.ts";

/** Member id of the first node: each group begins at index 1, and ids are log indexes. */
const FIRST_MEMBER = 1;

export interface FormClusterOptions {
  readonly db: string;
  readonly paths: DataPaths;
  readonly peerId: PeerId;
  readonly name: string;
  readonly shards: number;
  readonly transactions: "whole" | "row";
  /** Absent: the default. */
  readonly merge?: PerTable<MergeMode> | null;
  readonly foreignKeys?: ForeignKeyMode | null;
  readonly idBlock?: PerTable<number> | null;
  readonly selection: Selection;
  readonly archive?: ArchiveSetting | null;
  /** The SQLite that the application writes with; null: unknown. Absent: unknown. */
  readonly application?: SqliteVersion | null;
}

/**
 * Classifies the tables of `file`, which the SQLite `application` writes. Throws `UserError` if the selection names a table that
 * the file does not have.
 */
export function classifySelected(
  db: DatabaseSync,
  file: string,
  selection: Selection,
  application: SqliteVersion | null,
): ClassifiedTable[] {
  const tables = classify(queryOf(db), selection, application);
  const known = new Set(tables.map((t) => foldName(t.name)));
  const missing = [...(selection.tables ?? []), ...selection.exclude].filter(
    (name) => !known.has(foldName(name)),
  );
  if (missing.length > 0)
    throw new UserError(
      `--tables and --exclude must name tables of ${file}; it has no ${missing.join(", ")}`,
      `its tables: ${tables.map((t) => t.name).join(", ")}`,
    );
  return tables;
}

/** Throws a `UserError` that lists each table that cannot be replicated. */
export function checkSchema(
  db: DatabaseSync,
  { db: file, selection, application }: Pick<FormClusterOptions, "db" | "selection" | "application">,
): ClassifiedTable[] {
  const tables = classifySelected(db, file, selection, application ?? null);
  const refused = tables.filter((t) => t.verdict === "refused");
  if (refused.length > 0)
    throw new UserError(
      `${refused.length} of ${tables.length} tables of ${file} cannot be replicated:\n` +
        refused.map((t) => `  ${t.name}: ${t.reason}\n    hint: ${t.hint}`).join("\n"),
      "fix or --exclude each of them; without one of its tables a transaction would arrive in parts",
    );
  return tables;
}

/** Throws `UserError` for a damaged file. */
export function checkPages(db: DatabaseSync, file: string, isDeep = false): void {
  const damage = isDeep || sizeOf(db) <= QUICK_CHECK_BYTES ? findDamage(db) : null;
  if (damage !== null) throw new UserError(`${file} is damaged: ${damage}`, salvageHint(file));
}

/** Throws `UserError` for a setting of a table that does not exist or is not replicated. */
export function checkSettings(
  tables: readonly ClassifiedTable[],
  { db: file, merge, idBlock }: Pick<FormClusterOptions, "db" | "merge" | "idBlock">,
): void {
  const replicated = new Set(tables.filter(replicates).map((t) => t.name));
  checkNamed("--merge", merge, replicated, file);
  checkNamed("--id-block", idBlock, replicated, file);
}

function checkNamed(
  option: string,
  setting: PerTable<string | number> | null | undefined,
  replicated: ReadonlySet<string>,
  file: string,
): void {
  const known = new Set([...replicated].map(foldName));
  const missing = Object.keys(setting?.tables ?? {}).filter((name) => !known.has(name));
  if (missing.length > 0)
    throw new UserError(
      `${option} must name replicated tables; of ${file} ${missing.join(", ")} is not replicated`,
      `the replicated tables: ${[...replicated].join(", ")}`,
    );
}

export interface FormClusterComponents {
  readonly clock: Clock;
  readonly onProgress: OnProgress;
}

/** After a crash before the replica is renamed into place, the next start begins again. */
export async function formCluster(
  options: FormClusterOptions,
  { clock, onProgress }: FormClusterComponents,
): Promise<void> {
  const { db: file, paths, peerId, selection } = options;
  const appDb = openAppDb(file, { timeout: LOCKED_MS });
  try {
    checkPages(appDb, file);
    const tables = checkSchema(appDb, options);
    checkSettings(tables, options);
    const replicated = new Set(tables.filter(replicates).map((t) => t.name));
    const query = queryOf(appDb);
    if (readCaptured(appDb) !== null) uninstall(appDb); // left by an interrupted attempt
    const catalogue = readCatalogue(query);
    const objects = numberTables(catalogue, replicated);
    const shapes = objects.flatMap((o) =>
      o.tableId === null ? [] : [shapeOf(readTable(query, o.name), o.tableId)],
    );
    const settings: ReplicaSettings = {
      clusterId: randomBytes(16).toString("hex"),
      shards: options.shards,
      transactions: options.transactions,
      merge: options.merge ?? forAll("row"),
      foreignKeys: options.foreignKeys ?? "keep",
      idBlock: options.idBlock ?? forAll(DEFAULT_ID_BLOCK),
      schemaVersion: 1,
      encoding: catalogue.encoding,
      userVersion: catalogue.userVersion,
      applicationId: catalogue.applicationId,
      selection: { tables: selection.tables, exclude: selection.exclude },
      ...(options.archive == null ? {} : { archive: options.archive }),
      skipped: tables.flatMap((t) => (t.verdict === "skipped" ? [{ name: t.name, reason: t.reason }] : [])),
    };
    const position = Array.from({ length: options.shards }, () => 1);
    const captured = install(appDb, shapes, {
      clusterId: settings.clusterId,
      peerId,
      schemaVersion: 1,
      position,
    });
    const configuration: GroupConfiguration = {
      index: 1,
      configuration: {
        voters: [FIRST_MEMBER],
        votersOutgoing: [],
        learners: [],
        learnersNext: [],
        autoLeave: false,
      },
      members: [{ id: FIRST_MEMBER, peerId, name: options.name, slot: 0 }],
    };
    removeDatabase(paths.log);
    createLog(
      paths.log,
      { clusterId: settings.clusterId, peerId },
      position.map(() => ({
        snapshot: { index: 1, term: 1, configuration: configuration.configuration },
        configuration,
      })),
    );
    const start = clock.now();
    await createReplica({
      path: paths.replica,
      appDb: file,
      settings,
      objects,
      peerId,
      logs: new Map(captured.map((c) => [c.id, c.log])),
      onProgress: (done, total) =>
        onProgress({
          work: "import",
          done,
          total,
          unit: "rows",
          remainingMs: remainingMs(clock.now() - start, done, total),
        }),
    });
    onProgress(null);
  } finally {
    appDb.close();
  }
}
