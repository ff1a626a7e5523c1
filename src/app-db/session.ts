/**
 * Everything that knows the shapes of the application's tables, opened again when they change: reading the change logs,
 * writing the replica's rows, and the state of pending rows, which is all stored in the file.
 */
import type { RememberedSchema } from "../capture/remembered.ts";
import type { BasePositions } from "../change/base-positions.ts";
import type { PositionVector } from "../change/batch.ts";
import { ChangeLogCursors } from "../change/change-log-cursor.ts";
import { settingOf } from "../change/per-table.ts";
import { PendingRows } from "../change/pending-rows.ts";
import type { TableShape } from "../change/shape.ts";
import type { UnseenRows } from "../rows/unseen-rows.ts";
import type { Image } from "../change/value.ts";
import type { WithheldRows } from "../change/withheld-rows.ts";
import type { AppDbConnection } from "../reflect/app-db-connection.ts";
import { ChangeLogWriter } from "../reflect/change-log-writer.ts";
import { type BlockPlace, IdBlocks } from "../reflect/id-blocks.ts";
import { HoldBack } from "../reflect/hold-back.ts";
import { Reflector } from "../reflect/reflector.ts";
import type { Replica } from "../replica/replica.ts";
import type { CapturedTable } from "../rows/change-logs.ts";
import { RowAccess } from "../rows/row-access.ts";
import type { KnownSchema } from "../schema/catalogue.ts";
import { AppDbReader } from "./reader.ts";
import { readStoredState } from "./stored-state.ts";

export interface AppDbSessionOptions {
  readonly file: string;
  /** The caller closes it. */
  readonly connection: AppDbConnection;
  readonly replica: Replica;
  readonly captured: readonly CapturedTable[];
  readonly remembered: RememberedSchema;
  /** The file's schema, if it is the remembered one and all of it is captured; null: it is not, and nothing may go on. */
  readonly expected: KnownSchema | null;
  /** This node's blocks of ids; null: unknown yet. */
  readonly place: () => BlockPlace | null;
  /** Cursors of the session before, whose ordered log ids still hold; null: it is the first one. */
  readonly previous: ChangeLogCursors | null;
  /** Tables that this node cannot write for now: rows of other nodes wait. */
  readonly heldBack: readonly HeldBackTable[];
  readonly unseen: UnseenRows;
  /** See `RowReflectorComponents`. */
  readonly keepUnseen: (shape: TableShape, images: readonly Image[]) => void;
}

export interface HeldBackTable {
  readonly id: number;
  /** Its own rows can be read with the shape of the replica's table. */
  readonly sends: boolean;
}

export class AppDbSession {
  #reader: AppDbReader | null = null;
  readonly #openReader: () => AppDbReader;
  readonly reflector: Reflector;
  readonly logs: ReadonlyMap<number, ChangeLogWriter>;
  readonly pending = new PendingRows();
  readonly bases: BasePositions;
  readonly withheld: WithheldRows;
  readonly cursors: ChangeLogCursors;
  /** The schema that the file last reflected. */
  readonly remembered: RememberedSchema;
  /** See `AppDbSessionOptions`. */
  readonly expected: KnownSchema | null;
  readonly holdBack: HoldBack;

  /** It may also be opened inside a transaction of the connection. */
  constructor(options: AppDbSessionOptions) {
    const { file, connection, replica, captured, remembered, expected, place, previous, unseen, keepUnseen } =
      options;
    const { settings } = replica;
    this.remembered = remembered;
    this.expected = expected;
    const { db } = connection;
    const isSilent = (id: number): boolean => options.heldBack.some((t) => t.id === id && !t.sends);
    const logged = shapesOf(replica, captured);
    const shapes = logged.filter(({ id }) => !isSilent(id));
    connection.triggers.replicate(shapes.map((s) => s.name));
    const state = readStoredState(db, logged, settings.shards);
    this.bases = state.bases;
    this.withheld = state.withheld;
    const ids = logged.map(({ id }) => id);
    this.cursors = new ChangeLogCursors(ids, state.acknowledged, previous);
    for (const [table, id] of state.acknowledged) this.pending.see(table, id);
    this.logs = new Map(
      shapes.map((shape) => {
        const access = new RowAccess(db, shape, settings.encoding);
        const table = captured.find((c) => c.id === shape.id)!;
        const cursor = this.cursors.of(shape.id);
        return [shape.id, new ChangeLogWriter(db, { access, captured: table, cursor })];
      }),
    );
    const { bases, withheld, pending, logs, cursors } = this;
    const silent = [...replica.shapes.values()].filter(({ id }) => isSilent(id));
    this.holdBack = new HoldBack(
      new Set(options.heldBack.map(({ id }) => id)),
      withheld,
      new Map(silent.map((shape) => [shape.id, shape])),
    );
    this.reflector = new Reflector({
      ...{
        appDb: connection,
        logs,
        source: replica,
        pending,
        bases,
        withheld,
        cursors,
        expected,
        unseen,
        keepUnseen,
        holdBack: this.holdBack,
      },
      ids: new IdBlocks(db, {
        shapes: expected === null ? [] : shapes,
        sizeOf: (table) => settingOf(settings.idBlock, table),
        place,
      }),
    });
    this.#openReader = () =>
      new AppDbReader({
        ...{ file, shapes, captured, encoding: settings.encoding, expected },
        waiting: logged.flatMap(({ id }) => (isSilent(id) ? [id] : [])),
        life: () => connection.life.current,
      });
  }

  get schemaVersion(): number {
    return this.remembered.version;
  }

  /** The position that the file showed at least of every row, pending and withheld ones included. */
  oldestBase(): PositionVector {
    const oldest = [...this.bases.oldest()];
    for (const position of this.withheld.positions())
      for (const [shard, index] of oldest.entries()) oldest[shard] = Math.min(index, position[shard] ?? 0);
    return oldest;
  }

  /** Opens separate connections. Not before the transaction in which the session was opened is committed. */
  get reader(): AppDbReader {
    this.#reader ??= this.#openReader();
    return this.#reader;
  }

  close(): void {
    this.#reader?.close();
    this.#reader = null;
  }
}

/** Replicated and captured tables, with the replica's shapes. */
function shapesOf(replica: Replica, captured: readonly CapturedTable[]): TableShape[] {
  const logged = new Set(captured.map((c) => c.id));
  return [...replica.shapes.values()].filter((shape) => logged.has(shape.id));
}
