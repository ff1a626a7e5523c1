/** The settings of the cluster: written once at cluster bootstrap, and received by every joiner with its snapshot. */
import type { DatabaseSync } from "node:sqlite";
import { UserError } from "../../base/errors.ts";
import { FORMATS, newerFormat, showRange } from "../../base/versions/formats.ts";
import { forAll, type PerTable } from "../../change/per-table.ts";
import { NOT_SELECTED } from "../../schema/classify/classify.ts";
import type { Selection } from "../../schema/selection.ts";
import { REPLICA_FORMAT } from "./tables.ts";
import { WITHOUT_ROWS_FORMAT } from "./used-formats.ts";

export type MergeMode = "row" | "column";
export type ForeignKeyMode = "keep" | "resolve";

/** Consecutive ids that one node may assign; see `reflect/id-blocks.ts`. */
export const DEFAULT_ID_BLOCK = 64;

export interface ArchiveSetting {
  readonly to: string;
  readonly intervalMs: number;
  readonly keep: { readonly ms: number | null; readonly snapshots: number | null };
}

export interface ReplicaSettings {
  /** 32 hexadecimal digits. */
  readonly clusterId: string;
  readonly shards: number;
  readonly transactions: "whole" | "row";
  /** How concurrent updates of one row are merged: the later row wins whole, or column by column. */
  readonly merge: PerTable<MergeMode>;
  /** Whether references that concurrent writes leave dangling are kept or resolved. */
  readonly foreignKeys: ForeignKeyMode;
  /** Ids in a block of AUTOINCREMENT tables; 0: no blocks. */
  readonly idBlock: PerTable<number>;
  readonly schemaVersion: number;
  /** `PRAGMA encoding` of the application's file. */
  readonly encoding: string;
  /** `PRAGMA user_version` and `application_id`: applications migrate by them. */
  readonly userVersion: number;
  readonly applicationId: number;
  /** The rule by which existing and future tables are replicated. */
  readonly selection: Selection;
  /** Where its nodes ship their entries; absent: nowhere, unless a node says so itself. */
  readonly archive?: ArchiveSetting;
  /** Tables that are not replicated, by name. */
  readonly skipped: readonly { readonly name: string; readonly reason: string }[];
}

export function writeSettings(db: DatabaseSync, settings: ReplicaSettings): void {
  const insert = db.prepare(`INSERT INTO "__marmot__setting" VALUES(?, ?)`);
  insert.run("format", BigInt(REPLICA_FORMAT));
  insert.run("cluster_id", settings.clusterId);
  insert.run("shards", BigInt(settings.shards));
  insert.run("transactions", settings.transactions);
  insert.run("merge", JSON.stringify(settings.merge));
  insert.run("foreign_keys", settings.foreignKeys);
  insert.run("id_block", JSON.stringify(settings.idBlock));
  insert.run("schema_version", BigInt(settings.schemaVersion));
  insert.run("encoding", settings.encoding);
  insert.run("user_version", BigInt(settings.userVersion));
  insert.run("application_id", BigInt(settings.applicationId));
  insert.run("selection", JSON.stringify(settings.selection));
  insert.run("skipped", JSON.stringify(settings.skipped));
  if (settings.archive !== undefined) insert.run("archive", JSON.stringify(settings.archive));
}

/** Throws `UserError` for an unknown format. Settings that an older format lacks have their default. */
export function readSettings(db: DatabaseSync, file: string): ReplicaSettings {
  const rows = db.prepare(`SELECT "name", "value" FROM "__marmot__setting"`).all();
  const of = new Map(rows.map((r) => [String(r.name), r.value]));
  const format = Number(of.get("format"));
  if (format > FORMATS.replica.max && format !== WITHOUT_ROWS_FORMAT)
    throw newerFormat(file, "replica", format);
  if (!(format >= FORMATS.replica.min))
    throw new UserError(
      `${file} is of format ${format}; this build knows formats ${showRange(FORMATS.replica)}`,
      "run the marmot version that wrote it",
    );
  const skipped = JSON.parse(String(of.get("skipped"))) as ReplicaSettings["skipped"];
  const selection = of.get("selection");
  const archive = of.get("archive");
  return {
    clusterId: String(of.get("cluster_id")),
    shards: Number(of.get("shards")),
    transactions: of.get("transactions") === "whole" ? "whole" : "row",
    merge: perTable(of.get("merge")) ?? forAll("row"),
    foreignKeys: of.get("foreign_keys") === "resolve" ? "resolve" : "keep",
    idBlock: perTable(of.get("id_block")) ?? forAll(DEFAULT_ID_BLOCK),
    schemaVersion: Number(of.get("schema_version")),
    encoding: String(of.get("encoding")),
    userVersion: Number(of.get("user_version")),
    applicationId: Number(of.get("application_id")),
    selection:
      typeof selection === "string"
        ? (JSON.parse(selection) as Selection)
        : { tables: null, exclude: skipped.filter((s) => s.reason === NOT_SELECTED).map((s) => s.name) },
    ...(typeof archive === "string" ? { archive: JSON.parse(archive) as ArchiveSetting } : {}),
    skipped,
  };
}

const perTable = <T extends string | number>(text: unknown): PerTable<T> | null =>
  typeof text === "string" ? (JSON.parse(text) as PerTable<T>) : null;
