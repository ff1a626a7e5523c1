/**
 * The application's file and the replica beside it, as the steps of a schema change see them: the schema as it is, what
 * captures it, and what reads and writes the file's rows.
 */
import type { DatabaseSync } from "node:sqlite";
import { assert } from "../base/assert.ts";
import type { Logger } from "../base/logger.ts";
import { foldName } from "../base/names.ts";
import { readCaptured } from "../capture/install.ts";
import { recapture, renewEvictions, uncapture, type WantedCapture } from "../capture/recapture.ts";
import { readRemembered, type RememberedSchema, writeRemembered } from "../capture/remembered.ts";
import type { BlockPlace } from "../reflect/id-blocks.ts";
import type { AppDbConnection } from "../reflect/app-db-connection.ts";
import type { Replica } from "../replica/replica.ts";
import { type KnownSchema, readCatalogue } from "../schema/catalogue.ts";
import { APP_DB_FORMAT, APP_DB_TABLES } from "../schema/app-db-tables.ts";
import { tableNames } from "../sqlite/has.ts";
import { LOCKED_MS } from "../sqlite/locked.ts";
import { openDatabase } from "../sqlite/open.ts";
import { queryOf } from "../sqlite/query.ts";
import { commitAfter } from "../sqlite/transaction.ts";
import { RowsToRestore } from "./rows-to-restore.ts";
import {
  type AppDbSchema,
  type HeldTable,
  type NameInFile,
  readAppDbSchema,
  shapeInFile,
} from "./detect-change.ts";
import { AppDbSession } from "../app-db/session.ts";

export interface SchemaStepsComponents {
  /** The application's file. */
  readonly file: string;
  readonly replicaFile: string;
  /** Where rows go that do not stand and are too many for the journal. */
  readonly lostFile: string;
  readonly peerId: string;
  readonly connection: AppDbConnection;
  readonly replica: Replica;
  /** This node's blocks of ids; null: unknown yet. */
  readonly place: () => BlockPlace | null;
  readonly logger: Logger;
}

export class SchemaFile {
  readonly components: SchemaStepsComponents;
  readonly awaited: RowsToRestore;

  constructor(components: SchemaStepsComponents) {
    this.components = components;
    this.#upgrade();
    this.#renewEvictions();
    this.awaited = new RowsToRestore(components.connection.db, components.replica);
  }

  /** A file of an older format gets what it lacks. */
  #upgrade(): void {
    const { db } = this.components.connection;
    const { format } = db
      .prepare(`SELECT "value" AS format FROM "__marmot__meta" WHERE "name" = 'format'`)
      .get() as { format: number };
    if (format === APP_DB_FORMAT) return;
    db.exec(`PRAGMA busy_timeout = ${LOCKED_MS}`);
    try {
      db.exec("BEGIN IMMEDIATE");
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

  /** Of format 1: no schema was ever changed in its cluster. */
  #remember(): void {
    const { connection, replica } = this.components;
    const { db } = connection;
    const { schemaVersion } = replica.settings;
    const state = readCatalogue(queryOf(db));
    const tables = new Map([...replica.shapes.values()].map((s) => [s.name, s.id]));
    const { version } = db
      .prepare(`SELECT "value" AS version FROM "__marmot__meta" WHERE "name" = 'schema_version'`)
      .get() as { version: number };
    assert(version <= schemaVersion, "a file reflects no schema that its replica does not have");
    writeRemembered(db, { version, state, tables, unreconciled: [] });
  }

  /** In a transaction. */
  read(): AppDbSchema {
    const { connection, replica, replicaFile } = this.components;
    let opened: DatabaseSync | null = null;
    try {
      const schema = readAppDbSchema(connection.db, replica.settings.selection, (sql, ...parameters) => {
        opened ??= openDatabase(replicaFile, { readOnly: true });
        return queryOf(opened)(sql, ...parameters);
      });
      assert(schema !== null, "a member's file is captured");
      return schema;
    } finally {
      (opened as DatabaseSync | null)?.close();
    }
  }

  /** What reads and writes the file as it is now. `expected`: see `LiveSideOptions`. In a transaction. */
  openSession(expected: KnownSchema | null, held: readonly HeldTable[]): AppDbSession {
    const { file, connection, replica, place } = this.components;
    const { db } = connection;
    const heldBack = new Set(held.map((t) => t.id));
    const there = tableNames(db);
    const captured = readCaptured(db)!.filter(({ log }) => there.has(log));
    const remembered = readRemembered(db)!;
    return new AppDbSession({ file, connection, replica, captured, remembered, expected, place, heldBack });
  }

  /**
   * Everything that `of` has, the replica or what it will be, is captured in the file from now on. `created`: names of tables
   * that are empty. `stands`: the file's own change, which was captured under ids that it would give, is among what led to `of`.
   */
  recapture(
    appDb: AppDbSchema,
    of: Replica,
    inFile: NameInFile,
    created: ReadonlySet<string>,
    stands: boolean,
  ): Pick<RememberedSchema, "tables" | "unreconciled"> {
    const { connection, replica, peerId } = this.components;
    const { db } = connection;
    const tables = new Map<string, number>();
    const wanted: WantedCapture[] = [];
    const unreconciled = new Set(appDb.remembered.unreconciled);
    const known = new Set(appDb.remembered.tables.values());
    const registered = new Map(appDb.captured.map((c) => [c.id, foldName(c.name)]));
    const strange: number[] = [];
    const heldBy = new Map(appDb.held.map((t) => [t.id, t]));
    for (const object of of.catalogue()) {
      const { tableId } = object;
      if (tableId === null) continue;
      const held = heldBy.get(tableId);
      tables.set(held?.remembered ?? object.name, tableId);
      const here = held === undefined ? inFile(object) : heldInFile(appDb, held);
      const shape = here === null ? null : shapeInFile(db, here.name, tableId);
      if (here === null || shape === null) continue;
      wanted.push({ shape, recorded: here.recorded });
      const name = foldName(here.name);
      // Captured for a change that was not taken, under an id that a change of others gave: whatever it is called.
      const isStrange =
        !known.has(tableId) &&
        registered.has(tableId) &&
        (!stands || registered.get(tableId) !== name || created.has(name));
      if (isStrange) strange.push(tableId);
      if (created.has(name)) unreconciled.delete(tableId);
      else if (isStrange || !appDb.whole.has(tableId)) unreconciled.add(tableId);
    }
    uncapture(db, strange);
    const { shards } = replica.settings;
    const floor = (table: number): number =>
      Math.max(
        ...Array.from({ length: shards }, (_, shard) => replica.origins.watermark(peerId, shard, table)),
      );
    recapture(db, wanted, floor, of !== replica);
    const there = new Set(wanted.map((w) => w.shape.id));
    return { tables, unreconciled: [...unreconciled].filter((id) => there.has(id)) };
  }
}

/** The table keeps what records renames: it is read once the table is not held back any more. */
function heldInFile({ recorders }: AppDbSchema, { name, remembered }: HeldTable): ReturnType<NameInFile> {
  const recorder = recorders.find((r) => foldName(r.table) === foldName(remembered));
  return { name, recorded: recorder?.columns ?? null };
}
