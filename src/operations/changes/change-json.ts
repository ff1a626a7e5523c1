/**
 * Entries of the history as JSON lines. Integers within 2^53, texts and NULL are plain; a REAL has a point or an exponent. Other values are
 * objects that name their kind: `{"blob": "00ff"}`, `{"integer": "9223372036854775807"}`, `{"real": "Infinity"}`, `{"text": "hex"}`.
 */
import { asPeerId } from "../../base/ids.ts";
import { decodeImage } from "../../change/codec.ts";
import { type Image, TextBytes, type Value } from "../../change/value.ts";
import type { HistoryReader, PastEntry, PastTable } from "../../replica/history/history-reader.ts";
import type { RecordedConflict, RecordedRow } from "../../replica/history/record.ts";
import type { Replicator } from "../../replication/replicator.ts";
import { fromUtf8 } from "../../base/bytes.ts";
import { conflictDetail, type ConflictSource, findConflict } from "../conflicts.ts";

/** Names of the past: of a running node, or of an archive. */
export interface PastNames {
  /** The node with this `peerHash`; "" as its peer: unknown. */
  origin(hash: number): { readonly name: string; readonly peer: string };
  table(version: number, id: number): PastTable | null;
  /** A conflict of the journal as JSON; null: it is not kept any more. */
  conflict(id: string): string | null;
}

export const namesOf = (replicator: Replicator): PastNames =>
  namesFrom(replicator, () => replicator.history!.reader);

export const namesFrom = (source: ConflictSource, reader: () => HistoryReader): PastNames => ({
  origin: (hash) => {
    const peer = source.replica.replica.origins.peerOf(hash);
    return { peer, name: peer === "" ? "unknown" : source.peers.nameOf(asPeerId(peer)) };
  },
  table: (version, id) => reader().table(version, id),
  conflict: (id) => {
    const kept = findConflict(source, id);
    return kept === null ? null : JSON.stringify(conflictDetail(source, kept));
  },
});

/** An event without its position. */
export interface ChangeEvent {
  readonly kind: "transaction" | "schema" | "conflict";
  /** The members of the JSON object, without the braces, and without the position. */
  readonly body: string;
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

export function jsonValue(value: Value): string {
  if (value === null) return "null";
  if (typeof value === "string") return JSON.stringify(value);
  if (typeof value === "bigint") {
    const small = Number(value);
    return Number.isSafeInteger(small) ? String(value) : `{"integer":"${value}"}`;
  }
  if (typeof value === "number") {
    if (!Number.isFinite(value)) return `{"real":"${value}"}`;
    if (Object.is(value, -0)) return "-0.0";
    const text = String(value);
    return /[.e]/.test(text) ? text : `${text}.0`;
  }
  return value instanceof TextBytes ? `{"text":"${hex(value.bytes)}"}` : `{"blob":"${hex(value)}"}`;
}

const named = (columns: readonly string[], image: Image): string =>
  `{${columns.map((name, i) => `${JSON.stringify(name)}:${jsonValue(image[i] ?? null)}`).join(",")}}`;

/** null: a table that is not known, or none. */
export type TableFilter = (table: PastTable | null) => boolean;

function rowJson(table: PastTable, before: Uint8Array | null, after: Uint8Array | null): string {
  const [old, next] = [before, after].map((bytes) => (bytes === null ? null : decodeImage(bytes)));
  const operation = old === null ? "insert" : next === null ? "delete" : "update";
  const image = (next ?? old)!;
  const keys = table.key.map((k) => `${JSON.stringify(table.columns[k])}:${jsonValue(image[k] ?? null)}`);
  const show = (of: Image | null | undefined): string => (of == null ? "null" : named(table.columns, of));
  return `{"table":${JSON.stringify(table.name)},"op":"${operation}","key":{${keys.join(",")}},"before":${show(old)},"after":${show(next)}}`;
}

/** The events of an entry, or of a part of it, in their order: schema, conflicts, rows. `part`: its number, from 1. */
export function eventsOf(
  names: PastNames,
  entry: PastEntry,
  { part, wants }: { readonly part: number; readonly wants: TableFilter },
): ChangeEvent[] {
  const { shard, index, time, origin, version, schema } = entry;
  const entryOf = `"entry":"${shard}:${index}","time":${JSON.stringify(new Date(time).toISOString())},${originJson(names, origin)}`;
  const events: ChangeEvent[] = [];
  if (schema !== null)
    events.push({ kind: "schema", body: `${entryOf},"version":${version},${schemaJson(schema)}` });
  const tableOf = (id: number): PastTable | null => names.table(version, id);
  for (const conflict of entry.conflicts)
    if (wants(tableOf(conflict[1])))
      events.push({ kind: "conflict", body: `${entryOf},${conflictJson(names, entry, conflict)}` });
  const rows = changesJson(entry.rows, tableOf, wants);
  // A large transaction ends with its last part, also if that has no wanted rows.
  const isLarge = part > 1 || !entry.last;
  if (rows.length > 0 || (isLarge && entry.last))
    events.push({
      kind: "transaction",
      body: `${entryOf}${isLarge ? `,"part":${part}` : ""},"changes":[${rows.join(",")}]`,
    });
  return events;
}

function changesJson(
  rows: readonly RecordedRow[],
  tableOf: (id: number) => PastTable | null,
  wants: TableFilter,
): string[] {
  return rows.flatMap(([id, before, after]) => {
    const table = tableOf(id);
    return table === null || !wants(table) ? [] : [rowJson(table, before, after)];
  });
}

function originJson(names: PastNames, hash: number): string {
  const { name, peer } = names.origin(hash);
  return `"origin":${JSON.stringify(name)},"peer":${JSON.stringify(peer)}`;
}

/** The changes as they travel; rows that an older change rejected are in the conflict journal. */
function schemaJson(schema: Uint8Array): string {
  const { changes } = JSON.parse(fromUtf8(schema)) as { changes: unknown };
  return `"changes":${JSON.stringify(changes)}`;
}

function conflictJson(
  names: PastNames,
  { shard, index, version }: PastEntry,
  [ordinal, table, key, kind]: RecordedConflict,
): string {
  const id = `${shard}:${index}:${ordinal}`;
  const kept = names.conflict(id);
  if (kept !== null) return `"conflict":${kept}`;
  const name = names.table(version, table)?.name ?? `table ${table}`;
  return `"conflict":${JSON.stringify({ id, table: name, key: String(key), kind })}`;
}
