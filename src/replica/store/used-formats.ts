/** The formats that a node must read to take part: of the replica's file, and of the entries that it contains. */
import type { DatabaseSync } from "node:sqlite";
import { OLDEST_FORMATS } from "../../base/versions/formats.ts";
import { REPLICA_FORMAT } from "./tables.ts";
import { integer, readRows, text } from "../../sqlite/typed-rows.ts";

/** The setting is absent while all entries are of formats that each build reads. */
const ENTRY_FORMAT = "entry_format";

/** A replica that has tables without rows, for its own node alone. Each build that does not know it refuses the file. */
export const WITHOUT_ROWS_FORMAT = 1000;

type Versions = Readonly<Record<"entry" | "replica", number>>;

function readVersions(db: DatabaseSync): Versions {
  const rows = db
    .prepare(`SELECT "name", "value" FROM "__marmot__setting" WHERE "name" IN ('format', '${ENTRY_FORMAT}')`)
    .all();
  const values = new Map(readRows(rows, { name: text, value: integer }).map((r) => [r.name, r.value]));
  return {
    entry: values.get(ENTRY_FORMAT) ?? OLDEST_FORMATS.entry.max,
    replica: values.get("format") ?? OLDEST_FORMATS.replica.min,
  };
}

function store(db: DatabaseSync, name: string, version: number): void {
  db.prepare(`INSERT OR REPLACE INTO "__marmot__setting" VALUES(?, ?)`).run(name, BigInt(version));
}

/** In the transaction that writes the first content of that format. */
export function raiseReplicaFormat(db: DatabaseSync, version: number): void {
  if (readVersions(db).replica < version) store(db, "format", version);
}

export class UsedVersions {
  readonly #db: DatabaseSync;
  #entry: number;

  constructor(db: DatabaseSync) {
    this.#db = db;
    this.#entry = readVersions(db).entry;
  }

  get all(): Versions {
    const { replica } = readVersions(this.#db);
    // The replicas of other nodes are whole.
    return { entry: this.#entry, replica: replica === WITHOUT_ROWS_FORMAT ? REPLICA_FORMAT : replica };
  }

  /** An entry takes effect, in the transaction of its rows. */
  applied(format: number): void {
    if (format <= this.#entry) return;
    store(this.#db, ENTRY_FORMAT, format);
    this.#entry = format;
  }
}
