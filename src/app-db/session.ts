/**
 * Everything that knows the shapes of the application's tables, opened anew when they change: reading the change logs,
 * writing what the replica holds, and what is known of pending rows, which all lies in the file.
 */
import type { CapturedTable } from "../capture/install.ts";
import type { RememberedSchema } from "../capture/remembered.ts";
import type { PositionVector } from "../change/batch.ts";
import type { BasePositions } from "../change/base-positions.ts";
import { settingOf } from "../change/per-table.ts";
import { PendingRows } from "../change/pending-rows.ts";
import type { WithheldRows } from "../change/withheld-rows.ts";
import type { TableShape } from "../change/shape.ts";
import { type BlockPlace, IdBlocks } from "../reflect/id-blocks.ts";
import type { AppDbConnection } from "../reflect/app-db-connection.ts";
import { ChangeLogRows } from "../reflect/change-log-rows.ts";
import { Reflector } from "../reflect/reflector.ts";
import type { Replica } from "../replica/replica.ts";
import type { KnownSchema } from "../schema/catalogue.ts";
import { RowAccess } from "../rows/row-access.ts";
import { AppDbReader } from "./reader.ts";
import { readStoredState } from "./stored-state.ts";

export interface AppDbSessionOptions {
  readonly file: string;
  /** Stays the caller's. */
  readonly connection: AppDbConnection;
  readonly replica: Replica;
  readonly captured: readonly CapturedTable[];
  readonly remembered: RememberedSchema;
  /** The file's schema, which is the remembered one, all captured; null: it is not, and nothing may go on. */
  readonly expected: KnownSchema | null;
  /** This node's blocks of ids; null: unknown yet. */
  readonly place: () => BlockPlace | null;
  /** Ids of tables of which rows of other nodes are not written for now. */
  readonly heldBack?: ReadonlySet<number>;
}

export class AppDbSession {
  #reader: AppDbReader | null = null;
  readonly #openReader: () => AppDbReader;
  readonly reflector: Reflector;
  /** Ids of tables of which rows of other nodes are not written for now. */
  readonly heldBack: ReadonlySet<number>;
  readonly logs: ReadonlyMap<number, ChangeLogRows>;
  readonly pending = new PendingRows();
  readonly bases: BasePositions;
  readonly shadows: WithheldRows;
  /** Table id ⇒ log id up to which the file says its changes are ordered. */
  readonly acknowledged: ReadonlyMap<number, number>;
  /** The schema that the file last reflected. */
  readonly remembered: RememberedSchema;
  /** See `LiveSideOptions`. */
  readonly expected: KnownSchema | null;

  /** Inside a transaction of the connection it may be opened as well. */
  constructor(options: AppDbSessionOptions) {
    const { file, connection, replica, captured, remembered, expected, place } = options;
    const { settings } = replica;
    this.remembered = remembered;
    this.expected = expected;
    this.heldBack = options.heldBack ?? new Set();
    const { db } = connection;
    const shapes = shapesOf(replica, captured);
    connection.triggers.replicate(shapes.map((s) => s.name));
    const state = readStoredState(db, shapes, captured, settings.shards);
    this.bases = state.bases;
    this.shadows = state.shadows;
    this.acknowledged = state.acknowledged;
    for (const [table, id] of state.acknowledged) this.pending.see(table, id);
    this.logs = new Map(
      shapes.map((shape) => {
        const access = new RowAccess(db, shape, settings.encoding);
        const { log } = captured.find((c) => c.id === shape.id)!;
        return [shape.id, new ChangeLogRows(db, access, log, state.acknowledged.get(shape.id) ?? 0)];
      }),
    );
    const { bases, shadows, pending, logs } = this;
    this.reflector = new Reflector({
      ...{ appDb: connection, logs, source: replica, pending, bases, shadows, expected },
      heldBack: this.heldBack,
      ids: new IdBlocks(
        db,
        expected === null ? [] : shapes,
        (table) => settingOf(settings.idBlock, table),
        place,
      ),
    });
    this.#openReader = () => new AppDbReader(file, shapes, captured, settings.encoding, expected);
  }

  /** What the file showed at least of every row, pending and shadowed ones included. */
  oldestBase(): PositionVector {
    const oldest = [...this.bases.oldest()];
    for (const position of this.shadows.positions())
      for (const [shard, index] of oldest.entries()) oldest[shard] = Math.min(index, position[shard] ?? 0);
    return oldest;
  }

  /** Connections of its own; not before the transaction in which the side was opened is committed. */
  get reader(): AppDbReader {
    this.#reader ??= this.#openReader();
    return this.#reader;
  }

  close(): void {
    this.#reader?.close();
    this.#reader = null;
  }
}

/** Tables that replicate and are captured, as the replica has them, under the file's names. */
function shapesOf(replica: Replica, captured: readonly CapturedTable[]): TableShape[] {
  const logged = new Set(captured.map((c) => c.id));
  return [...replica.shapes.values()].filter((shape) => logged.has(shape.id));
}
