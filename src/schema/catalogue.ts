/** The application's part of a schema: what is Marmot's or SQLite's own is left out, order and text are kept. */
import { foldName } from "../base/names.ts";
import type { Query } from "../sqlite/query.ts";
import { readObjects, type SchemaObject } from "../sqlite/schema.ts";
import { PREFIX } from "./live-tables.ts";

export interface Catalogue {
  /** In the order of creation. */
  readonly objects: readonly SchemaObject[];
  /** `PRAGMA encoding`. */
  readonly encoding: string;
  readonly userVersion: number;
  readonly applicationId: number;
}

export const isOwn = (name: string): boolean => foldName(name).startsWith(PREFIX);

export function readCatalogue(query: Query): Catalogue {
  const pragma = (name: string) => query(`PRAGMA ${name}`)[0]![0];
  return {
    objects: readObjects(query).filter((o) => !isOwn(o.name)),
    encoding: String(pragma("encoding")),
    userVersion: Number(pragma("user_version")),
    applicationId: Number(pragma("application_id")),
  };
}

/** Equal for equal schemas: what `PRAGMA schema_version` cannot say, since VACUUM and ANALYZE move it, too. */
export function fingerprint(query: Query): string {
  const rows = query(
    `SELECT type, name, tbl_name, sql FROM main.sqlite_schema WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY type, name`,
  );
  const [userVersion, applicationId] = ["user_version", "application_id"].map((name) =>
    Number(query(`PRAGMA ${name}`)[0]![0]),
  );
  return Bun.hash.xxHash64(JSON.stringify([rows, userVersion, applicationId]), 0n).toString(16);
}
