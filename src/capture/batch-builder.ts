/**
 * Packs a drain's rows into batches, one chain a shard. A small changeset is one batch; a large one has parts that take
 * effect together. Encoded parts are handed over as they fill, so that a transaction of a million rows does not need them
 * all in memory.
 */
import {
  type Batch,
  BatchKind,
  type PositionVector,
  type RowChange,
  type TableChanges,
  type Watermark,
} from "../change/batch.ts";
import { EMPTY_BYTES } from "../base/bytes.ts";
import { encodeBatch } from "../change/codec.ts";
import { KeyList } from "../change/key-map.ts";
import { encodeNamed } from "../change/marking.ts";
import type { TableShape } from "../change/shape.ts";
import { imageSize } from "../change/value.ts";

/** Bytes of rows after which a part is closed. */
export const PART_BYTES = 1 << 20;

export interface ChainPlace {
  readonly origin: string;
  readonly incarnation: number;
  readonly csn: number;
  readonly previousCsn: number;
  readonly schemaVersion: number;
  readonly time: number;
  /** The positions of the origin's replica when it drained; empty where no rule needs them. */
  readonly after: PositionVector;
}

export interface BuiltPart {
  readonly part: number;
  readonly last: boolean;
  readonly bytes: Uint8Array;
  readonly rows: number;
}

/** A schema change at the beginning of a changeset. */
export interface SchemaLead {
  readonly entry: Uint8Array;
  /** The position that the origin's file showed at least of every row; null: it is unknown. */
  readonly base: PositionVector | null;
}

interface OpenTable {
  readonly shape: TableShape;
  readonly rows: RowChange[];
}

/** Builds the parts of one changeset in one shard. */
export class BatchBuilder {
  readonly #place: (last: boolean) => ChainPlace;
  readonly #onPart: (part: BuiltPart) => void;
  readonly #schema: SchemaLead | null;
  #tables: OpenTable[] = [];
  #bases: PositionVector[] = [];
  #baseNames = new Map<string, number>();
  #lastBase: PositionVector | null = null;
  #lastBaseNumber = 0;
  #bytes = 0;
  #rows = 0;
  #part = 1;
  /** Keys of all parts. Their images are forgotten when the changeset is taken. */
  readonly keys = new KeyList();

  /**
   * `place` is called when a part is closed, with whether it is the last. `schema`: the change before the rows; it goes with
   * the last part, as does its base.
   */
  constructor(
    place: (last: boolean) => ChainPlace,
    onPart: (part: BuiltPart) => void,
    schema: SchemaLead | null = null,
  ) {
    this.#schema = schema;
    this.#place = place;
    this.#onPart = onPart;
    this.#begin();
  }

  add(shape: TableShape, row: Omit<RowChange, "base">, base: PositionVector): void {
    if (this.#bytes >= PART_BYTES) this.#close([], false, []);
    let table = this.#tables.at(-1);
    if (table?.shape !== shape) this.#tables.push((table = { shape, rows: [] }));
    table.rows.push({ ...row, base: this.#baseNumber(base) });
    this.keys.add(shape.id, row.keyId);
    this.#bytes += imageSize(row.image ?? row.key);
    this.#rows++;
  }

  #baseNumber(base: PositionVector): number {
    if (base === this.#lastBase) return this.#lastBaseNumber;
    const name = base.join(",");
    let number = this.#baseNames.get(name);
    if (number === undefined) {
      number = this.#bases.push(base) - 1;
      this.#baseNames.set(name, number);
    }
    this.#lastBase = base;
    this.#lastBaseNumber = number;
    return number;
  }

  #close(watermarks: readonly Watermark[], last: boolean, names: readonly number[]): void {
    const place = this.#place(last);
    const tables: TableChanges[] = this.#tables.map((t) => ({
      table: t.shape.id,
      columns: t.shape.columns.length,
      rows: t.rows,
    }));
    const batch: Batch = {
      ...place,
      ...(this.#schema === null
        ? { kind: BatchKind.rows }
        : { kind: BatchKind.schema, schema: last ? this.#schema.entry : EMPTY_BYTES }),
      part: this.#part,
      parts: last ? this.#part : 0,
      bases: this.#bases,
      after: last ? place.after : [], // a staged part takes no effect
      watermarks,
      note: "",
      tables,
    };
    const bytes = encodeNamed(names, encodeBatch(batch));
    this.#onPart({ part: this.#part++, last, rows: this.#rows, bytes });
    this.#begin();
  }

  /** Any part may turn out to be the last. */
  #begin(): void {
    this.#tables = [];
    this.#bases = [];
    this.#baseNames = new Map();
    this.#lastBase = null;
    this.#bytes = 0;
    this.#rows = 0;
    if (this.#schema?.base) this.#baseNumber(this.#schema.base);
  }

  /** The last part, which carries the watermarks; in shard 0 it names the other shards that have a part in it. */
  finish(watermarks: readonly Watermark[], names: readonly number[] = []): void {
    this.#close(watermarks, true, names);
  }
}

/** A batch that opens an incarnation in a shard: the fence. */
export function openingBatch(place: ChainPlace): Uint8Array {
  return encodeBatch({
    ...place,
    kind: BatchKind.open,
    part: 1,
    parts: 1,
    bases: [],
    watermarks: [],
    note: "",
    tables: [],
  });
}
