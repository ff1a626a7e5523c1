/**
 * The schema that the app database last reflected, stored in the file. Its present schema is compared with this one, and
 * differences are the application's own change. Written only together with the file's schema, in one transaction.
 */
import type { DatabaseSync } from "node:sqlite";
import type { SchemaState } from "../schema/diff/change.ts";

/** Ids of the replicated tables by their names in `state`. */
export interface RememberedSchema {
  readonly version: number;
  readonly state: SchemaState;
  readonly tables: ReadonlyMap<string, number>;
  /** Tables whose rows were written without capture: they must be compared with the replica. */
  readonly unreconciled: readonly number[];
}

interface Stored {
  readonly objects: SchemaState["objects"];
  readonly userVersion: number;
  readonly applicationId: number;
  readonly tables: [name: string, id: number][];
  /** `unreconciled`, under the name that it has on disk. */
  readonly uncompared: number[];
}

export function writeRemembered(
  db: DatabaseSync,
  { version, state, tables, unreconciled }: RememberedSchema,
): void {
  const put = db.prepare(`INSERT OR REPLACE INTO "__marmot__meta" VALUES(?, ?)`);
  const { objects, userVersion, applicationId } = state;
  const stored: Stored = {
    ...{ objects, userVersion, applicationId },
    tables: [...tables],
    uncompared: [...unreconciled],
  };
  put.run("schema_version", BigInt(version));
  put.run("schema", JSON.stringify(stored));
}

/** null: a file of format 1, which does not store it. */
export function readRemembered(db: DatabaseSync): RememberedSchema | null {
  const rows = db
    .prepare(`SELECT "name", "value" FROM "__marmot__meta" WHERE "name" IN ('schema', 'schema_version')`)
    .all() as { name: string; value: unknown }[];
  const of = new Map(rows.map((r) => [r.name, r.value]));
  const text = of.get("schema");
  if (typeof text !== "string") return null;
  const { objects, userVersion, applicationId, tables, uncompared } = JSON.parse(text) as Stored;
  return {
    version: Number(of.get("schema_version")),
    state: { objects, userVersion, applicationId },
    tables: new Map(tables),
    unreconciled: uncompared,
  };
}
