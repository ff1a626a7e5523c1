/** The application's part of a schema, in its order and with its texts. Objects of Marmot and of SQLite itself are not in it. */
import { foldName } from "../base/names.ts";
import type { Query } from "../sqlite/query.ts";
import { readObjects, type SchemaObject } from "../sqlite/schema.ts";
import { PREFIX } from "./app-db-tables.ts";

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

/** Equal for equal schemas, unlike `PRAGMA schema_version`, which VACUUM and ANALYZE change, too. */
export function fingerprint(query: Query): string {
  const rows = query(
    `SELECT type, name, tbl_name, sql FROM main.sqlite_schema WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY type, name`,
  );
  const [[userVersion, applicationId] = []] = query(
    `SELECT user_version, application_id FROM pragma_user_version, pragma_application_id`,
  );
  return Bun.hash
    .xxHash64(JSON.stringify([rows, Number(userVersion), Number(applicationId)]), 0n)
    .toString(16);
}

/** Identifies the schema that a file had. */
export interface KnownSchema {
  readonly fingerprint: string;
  /** Of the same moment: while these are equal, the fingerprint need not be computed again. */
  readonly versions: SchemaVersions;
}

/** While none of these changes, the schema does not. A change of the last two does not change the first. */
export interface SchemaVersions {
  readonly schema: number;
  readonly user: number;
  readonly application: number;
}

export const VERSIONS_SQL = `SELECT schema_version, user_version, application_id FROM pragma_schema_version, pragma_user_version, pragma_application_id`;

/** Inside a transaction. */
export function knowSchema(query: Query): KnownSchema {
  const [schema, user, application] = query(VERSIONS_SQL)[0]!.map(Number);
  return {
    fingerprint: fingerprint(query),
    versions: { schema: schema!, user: user!, application: application! },
  };
}
