/** Replicas in memory, to which a test gives entries that it makes itself. */
import { DatabaseSync } from "node:sqlite";
import { type Batch, BatchKind, Op } from "../../src/change/batch.ts";
import { encodeBatch } from "../../src/change/codec.ts";
import { encodeMarker, encodeNamed } from "../../src/change/marking.ts";
import { forAll } from "../../src/change/per-table.ts";
import { type Entry, EntryType } from "../../src/raft/model/types.ts";
import { Replica } from "../../src/replica/replica.ts";
import { createSchema, numberTables, readShapes } from "../../src/replica/store/schema-store.ts";
import {
  type ForeignKeyMode,
  type MergeMode,
  readSettings,
  writeSettings,
} from "../../src/replica/store/settings.ts";
import { REPLICATED_TABLES } from "../../src/replica/store/tables.ts";
import { ALL } from "../../src/schema/classify/classify.ts";
import { readCatalogue } from "../../src/schema/catalogue.ts";
import { prepareExact } from "../../src/rows/exact-values.ts";
import { queryOf } from "../../src/sqlite/query.ts";

export const SCHEMA_VERSION = 1;

/** The replicated state as a text: equal at equal positions. */
export function dumpReplica(db: DatabaseSync, replica: Replica): string {
  const names = Object.values(REPLICATED_TABLES).flatMap((sql) => /TABLE "(\w+)"/.exec(sql)?.[1] ?? []);
  const tables = [...names, ...[...replica.shapes.values()].map((s) => s.name)];
  return tables
    .map((name) => {
      const rows = prepareExact(db, `SELECT * FROM "${name}"`).all() as unknown as unknown[][];
      const text = rows.map((row) =>
        row.map((v) => (v instanceof Uint8Array ? Buffer.from(v).toString("hex") : String(v))).join(","),
      );
      return `${name}: ${text.sort().join("; ")}`;
    })
    .join("\n");
}

export class MemoryReplica {
  readonly db: DatabaseSync;
  readonly replica: Replica;

  constructor(options: {
    schema: string;
    shards: number;
    transactions?: "whole" | "row";
    merge?: MergeMode;
    foreignKeys?: ForeignKeyMode;
    peerId?: string;
  }) {
    const source = new DatabaseSync(":memory:");
    source.exec(options.schema);
    const catalogue = readCatalogue(queryOf(source));
    source.close();
    const tables = catalogue.objects.filter((o) => o.kind === "table").map((o) => o.name);
    this.db = new DatabaseSync(":memory:", { enableForeignKeyConstraints: false });
    createSchema(this.db, numberTables(catalogue, new Set(tables)));
    writeSettings(this.db, {
      clusterId: "0".repeat(32),
      shards: options.shards,
      transactions: options.transactions ?? "whole",
      schemaVersion: SCHEMA_VERSION,
      encoding: "UTF-8",
      userVersion: 0,
      applicationId: 0,
      selection: ALL,
      skipped: [],
      merge: forAll(options.merge ?? "row"),
      foreignKeys: options.foreignKeys ?? "keep",
      idBlock: forAll(0),
    });
    for (let shard = 0; shard < options.shards; shard++)
      this.db.prepare(`INSERT INTO "__marmot__position" VALUES(?, 0, 0)`).run(shard);
    this.replica = new Replica(this.db, {
      peerId: options.peerId ?? "observer",
      settings: readSettings(this.db, "a replica in memory"),
      shapes: readShapes(this.db),
    });
  }

  /** Adds one entry, and applies all entries that may be applied. */
  give(shard: number, entry: Entry): void {
    this.replica.enqueue(shard, [entry]);
    this.replica.advance(() => false);
  }

  dump(): string {
    this.replica.store();
    return dumpReplica(this.db, this.replica);
  }

  close(): void {
    this.db.close();
  }
}

/** `k` in the table of id 1, which must be `(k INTEGER PRIMARY KEY, v)`. A value of null is a delete. */
export interface Write {
  readonly k: number;
  readonly v: string | null;
}

export function batch(change: Partial<Batch> & { writes?: readonly Write[] }): Batch {
  const { writes = [], ...rest } = change;
  const rows = writes.map(({ k, v }) => {
    const key = [BigInt(k)];
    const image = v === null ? null : [BigInt(k), v];
    return { op: v === null ? Op.delete : Op.insert, keyId: k, key, image, mask: null, base: 0 };
  });
  return {
    kind: BatchKind.rows,
    origin: "a",
    incarnation: 1,
    csn: 1,
    part: 1,
    parts: 1,
    previousCsn: 0,
    schemaVersion: SCHEMA_VERSION,
    bases: [[]],
    after: [],
    watermarks: [],
    time: 0,
    note: "",
    tables: rows.length === 0 ? [] : [{ table: 1, columns: 2, rows }],
    ...rest,
  };
}

/** An entry of a log: a marker, or a batch with the shards that it names. */
export type Made =
  { readonly marker: number } | { readonly batch: Batch; readonly names?: readonly number[] };

export function entry(index: number, made: Made): Entry {
  const data =
    "marker" in made ? encodeMarker(made.marker) : encodeNamed(made.names ?? [], encodeBatch(made.batch));
  return { index, term: 1, type: EntryType.normal, data };
}
