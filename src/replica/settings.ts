/** The cluster's record of its settings: written once, when the cluster is formed, and taken over by every joiner. */
import type { DatabaseSync } from "node:sqlite";
import { UserError } from "../base/errors.ts";
import { REPLICA_FORMAT } from "./tables.ts";

export interface ReplicaSettings {
  /** 32 hexadecimal digits. */
  readonly clusterId: string;
  readonly shards: number;
  readonly transactions: "whole" | "row";
  readonly schemaVersion: number;
  /** `PRAGMA encoding` of the application's file. */
  readonly encoding: string;
  /** `PRAGMA user_version` and `application_id`: applications migrate by them. */
  readonly userVersion: number;
  readonly applicationId: number;
  /** Tables left out, by name. */
  readonly skipped: readonly { readonly name: string; readonly reason: string }[];
}

export function writeSettings(db: DatabaseSync, settings: ReplicaSettings): void {
  const insert = db.prepare(`INSERT INTO "__marmot__setting" VALUES(?, ?)`);
  insert.run("format", BigInt(REPLICA_FORMAT));
  insert.run("cluster_id", settings.clusterId);
  insert.run("shards", BigInt(settings.shards));
  insert.run("transactions", settings.transactions);
  insert.run("schema_version", BigInt(settings.schemaVersion));
  insert.run("encoding", settings.encoding);
  insert.run("user_version", BigInt(settings.userVersion));
  insert.run("application_id", BigInt(settings.applicationId));
  insert.run("skipped", JSON.stringify(settings.skipped));
}

/** Throws `UserError` when the replica is of a newer format. */
export function readSettings(db: DatabaseSync, file: string): ReplicaSettings {
  const rows = db.prepare(`SELECT "name", "value" FROM "__marmot__setting"`).all() as {
    name: string;
    value: unknown;
  }[];
  const of = new Map(rows.map((r) => [r.name, r.value]));
  const format = Number(of.get("format"));
  if (format !== REPLICA_FORMAT)
    throw new UserError(
      `${file} is of format ${format}; this build knows format ${REPLICA_FORMAT}`,
      "run the marmot version that wrote it, or a newer one",
    );
  return {
    clusterId: String(of.get("cluster_id")),
    shards: Number(of.get("shards")),
    transactions: of.get("transactions") === "whole" ? "whole" : "row",
    schemaVersion: Number(of.get("schema_version")),
    encoding: String(of.get("encoding")),
    userVersion: Number(of.get("user_version")),
    applicationId: Number(of.get("application_id")),
    skipped: JSON.parse(String(of.get("skipped"))) as ReplicaSettings["skipped"],
  };
}
