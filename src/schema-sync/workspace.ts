/**
 * The workspace of the steps of a schema change: the application's file, the replica beside it, the capture triggers, and the
 * session that reads and writes rows of the file.
 */
import type { DatabaseSync } from "node:sqlite";
import { assert } from "../base/assert.ts";
import type { Logger } from "../base/logger.ts";
import { foldName } from "../base/names.ts";
import { readCaptured } from "../capture/install.ts";
import type { CapturedTable } from "../rows/change-logs.ts";
import { recapture, renewEvictions, uncapture, type WantedCapture } from "../capture/recapture.ts";
import { readRemembered, type RememberedSchema, writeRemembered } from "../capture/remembered.ts";
import type { ChangeLogCursors } from "../change/change-log-cursor.ts";
import { UNSEEN_REASON, UnseenRows } from "../rows/unseen-rows.ts";
import type { BlockPlace } from "../reflect/id-blocks.ts";
import type { AppDbConnection } from "../reflect/app-db-connection.ts";
import type { Replica } from "../replica/replica.ts";
import { FileChangedError } from "../rows/file-life.ts";
import { type KnownSchema, readCatalogue } from "../schema/catalogue.ts";
import { APP_DB_FORMAT, APP_DB_TABLES } from "../schema/app-db-tables.ts";
import { tableNames } from "../sqlite/has.ts";
import { LOCKED_MS } from "../sqlite/locked.ts";
import { openDatabase } from "../sqlite/open.ts";
import type { SqliteVersion } from "../sqlite/versions/sqlite-version.ts";
import { beginWriting } from "../sqlite/open-app-db.ts";
import { type Query, queryOf } from "../sqlite/query.ts";
import { commitAfter } from "../sqlite/transaction.ts";
import { integer, readRow } from "../sqlite/typed-rows.ts";
import { RowsToRestore } from "./rows-to-restore.ts";
import { type AppDbSchema, type NameInFile, readAppDbSchema, shapeInFile } from "./detect-change.ts";
import {
  type ApplicationElsewhere,
  type HeldTable,
  heldUnder,
  type NamedIncomplete,
} from "./tables-held-back.ts";
import { AppDbSession, type AppDbSessionOptions } from "../app-db/session.ts";
import { keepRejects } from "./keep-rejects.ts";

export interface SchemaSyncComponents {
  /** The application's file. */
  readonly file: string;
  readonly replicaFile: string;
  /** For rejected rows that are too many for the journal. */
  readonly rejectsFile: string;
  readonly peerId: string;
  readonly connection: AppDbConnection;
  readonly replica: Replica;
  /** The slot of this node's id blocks; null: not known yet. */
  readonly place: () => BlockPlace | null;
  readonly logger: Logger;
  /** Names of nodes that have other functions of the application (`--functions`). Absent: none. */
  readonly withOtherFunctions?: () => readonly string[];
  /** The SQLite that the application writes with; null: unknown. Absent: unknown. */
  readonly applicationVersion?: () => SqliteVersion | null;
  /** The same of other nodes, as far as they told. Absent: none told. */
  readonly applicationsElsewhere?: () => readonly ApplicationElsewhere[];
  /** Absent: none are known. */
  readonly unseen?: UnseenRows;
  /** The file refuses the writes of its applications; null: it is not known. Absent: it does not. */
  readonly isReader?: () => boolean | null;
}

const readMetaNumber = (db: DatabaseSync, name: string): number =>
  readRow(db.prepare(`SELECT "value" FROM "__marmot__meta" WHERE "name" = ?`).get(name), { value: integer })
    .value;

export interface RecaptureOptions {
  readonly inFile: NameInFile;
  /** Names of the tables that are empty. */
  readonly created: ReadonlySet<string>;
  /** The schema of `of` includes the file's own change, whose tables were captured under the ids that it would give. */
  readonly isOwnChange: boolean;
}

export class SchemaWorkspace {
  readonly components: SchemaSyncComponents;
  readonly toRestore: RowsToRestore;
  readonly #unseen: UnseenRows;

  constructor(components: SchemaSyncComponents) {
    this.components = components;
    this.#unseen = components.unseen ?? new UnseenRows();
    this.#upgrade();
    this.#renewEvictions();
    this.toRestore = new RowsToRestore(components.connection.db, components.replica);
  }

  /** Upgrades a file of an older format. */
  #upgrade(): void {
    const { db } = this.components.connection;
    const format = readMetaNumber(db, "format");
    if (format === APP_DB_FORMAT) return;
    db.exec(`PRAGMA busy_timeout = ${LOCKED_MS}`);
    try {
      beginWriting(db);
      commitAfter(db, () => {
        if (readRemembered(db) === null) this.#remember();
        for (const sql of [APP_DB_TABLES.lost, APP_DB_TABLES.awaited]) db.exec(sql);
        db.prepare(`UPDATE "__marmot__meta" SET "value" = ? WHERE "name" = 'format'`).run(
          BigInt(APP_DB_FORMAT),
        );
      });
    } finally {
      db.exec("PRAGMA busy_timeout = 0");
    }
  }

  #renewEvictions(): void {
    const { db } = this.components.connection;
    db.exec(`PRAGMA busy_timeout = ${LOCKED_MS}`);
    try {
      renewEvictions(db, (name, id) => shapeInFile(db, name, id));
    } finally {
      db.exec("PRAGMA busy_timeout = 0");
    }
  }

  /** For format 1, in whose time no cluster could change its schema. */
  #remember(): void {
    const { connection, replica } = this.components;
    const { db } = connection;
    const { schemaVersion } = replica.settings;
    const state = readCatalogue(queryOf(db));
    const tables = new Map([...replica.shapes.values()].map((s) => [s.name, s.id]));
    const version = readMetaNumber(db, "schema_version");
    assert(version <= schemaVersion, "a file reflects no newer schema than its replica");
    writeRemembered(db, { version, state, tables, unreconciled: [] });
  }

  /** In a transaction. */
  read(): AppDbSchema {
    const { connection, replica, replicaFile } = this.components;
    let opened: DatabaseSync | null = null;
    try {
      const query: Query = (sql, ...parameters) => {
        opened ??= openDatabase(replicaFile, { readOnly: true });
        return queryOf(opened)(sql, ...parameters);
      };
      const withOtherFunctions = this.components.withOtherFunctions?.() ?? [];
      const application = this.components.applicationVersion?.() ?? null;
      const applicationsElsewhere = this.components.applicationsElsewhere?.() ?? [];
      const elsewhere = { withOtherFunctions, applicationsElsewhere, incomplete: this.#incomplete() };
      const selection = { ...replica.settings.selection, ...elsewhere, application };
      const schema = readAppDbSchema(connection.db, selection, query, (table) => this.#usedIds(table));
      if (schema === null) throw new FileChangedError("stripped");
      return schema;
    } finally {
      (opened as DatabaseSync | null)?.close();
    }
  }

  #incomplete(): NamedIncomplete[] {
    const {
      completion: { tables: incomplete },
      shapes,
    } = this.components.replica;
    return [...incomplete.values()].flatMap((t) => {
      const name = shapes.get(t.id)?.name;
      return name === undefined ? [] : [{ ...t, name }];
    });
  }

  /** The highest log id of the table that is ordered. */
  #usedIds(table: number): number {
    const { replica, peerId } = this.components;
    const { shards } = replica.settings;
    const ids = Array.from({ length: shards }, (_, shard) => replica.origins.watermark(peerId, shard, table));
    return Math.max(...ids);
  }

  /** A session for the current schema of the file. `expected`, `previous`: see `AppDbSessionOptions`. In a transaction. */
  openSession(
    expected: KnownSchema | null,
    previous: ChangeLogCursors | null,
    held: readonly HeldTable[],
  ): AppDbSession {
    const { file, connection, replica, place } = this.components;
    const { db } = connection;
    const there = tableNames(db);
    const captured = readCaptured(db)!.filter(({ log }) => there.has(log));
    const remembered = readRemembered(db)!;
    return new AppDbSession({
      ...{ file, connection, replica, captured, remembered, expected, place, previous },
      heldBack: heldUnder(db, replica, held),
      ...this.unseenRows(captured),
    });
  }

  /** Rows that no trigger saw, and how they get into the journal. */
  unseenRows(captured: readonly CapturedTable[]): Pick<AppDbSessionOptions, "unseen" | "keepUnseen"> {
    const { db } = this.components.connection;
    return {
      unseen: this.#unseen,
      keepUnseen: ({ id, name, columns }, images) => {
        const table = captured.find((c) => c.id === id)?.name ?? name;
        keepRejects(db, { table, columns: columns.map((c) => c.name), reason: UNSEEN_REASON }, images);
      },
    };
  }

  /** Captures each table of `of`, which is the replica or a trial of its next state. In a write transaction. */
  recapture(
    appDb: AppDbSchema,
    of: Replica,
    { inFile, created, isOwnChange }: RecaptureOptions,
  ): Pick<RememberedSchema, "tables" | "unreconciled"> {
    const { connection, replica } = this.components;
    const { db } = connection;
    const tables = new Map<string, number>();
    const wanted: WantedCapture[] = [];
    const unreconciled = new Set(appDb.remembered.unreconciled);
    const known = new Set(appDb.remembered.tables.values());
    const registered = new Map(appDb.captured.map((c) => [c.id, foldName(c.name)]));
    const others: number[] = [];
    const apart = new Set<number>();
    const heldBy = new Map(appDb.held.map((t) => [t.id, t]));
    for (const object of of.catalogue()) {
      const { tableId } = object;
      if (tableId === null) continue;
      const held = heldBy.get(tableId);
      // The file has no such table yet.
      if (held !== undefined && !known.has(tableId) && replica.completion.tables.has(tableId)) continue;
      tables.set(held?.remembered ?? object.name, tableId);
      if (held?.isRekeyed === true) {
        unreconciled.add(tableId);
        apart.add(tableId);
        continue;
      }
      const here = held === undefined ? inFile(object) : heldInFile(appDb, held);
      const shape = here === null ? null : shapeInFile(db, here.name, tableId);
      if (here === null || shape === null) continue;
      wanted.push({ shape, recorded: here.recorded });
      const name = foldName(here.name);
      // Captured for a rejected change, under an id that a change of another node assigned to a different table.
      const isOther =
        !known.has(tableId) &&
        registered.has(tableId) &&
        (!isOwnChange || registered.get(tableId) !== name || created.has(name));
      if (isOther) others.push(tableId);
      if (created.has(name)) unreconciled.delete(tableId);
      else if (isOther || !appDb.whole.has(tableId)) unreconciled.add(tableId);
    }
    uncapture(db, others);
    recapture(db, wanted, (table) => this.#usedIds(table), { keep: of !== replica, apart });
    const there = new Set([...wanted.map((w) => w.shape.id), ...apart]);
    return { tables, unreconciled: [...unreconciled].filter((id) => there.has(id)) };
  }
}

/** The table keeps its record of renames, which is read once the table is not held back any more. */
function heldInFile({ recorders }: AppDbSchema, { name, remembered }: HeldTable): ReturnType<NameInFile> {
  const recorder = recorders.find((r) => foldName(r.table) === foldName(remembered));
  return { name, recorded: recorder?.columns ?? null };
}
