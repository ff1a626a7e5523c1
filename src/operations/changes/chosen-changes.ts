/** The recorded changes that an undo is about, by row. */
import { UserError } from "../../base/errors.ts";
import { foldName, isSameName } from "../../base/names.ts";
import { decodeImage } from "../../change/codec.ts";
import { type KeyId, keyIdOfImage } from "../../change/key.ts";
import type { TableShape } from "../../change/shape.ts";
import type { Image, Value } from "../../change/value.ts";
import type { HistoryReader, PastEntry, PastTable } from "../../replica/history/history-reader.ts";
import { peerHash } from "../../replica/store/tables.ts";
import type { Replicator } from "../../replication/replicator.ts";
import type { UndoOptions } from "../changes-api.ts";

/** More rows do not fit in memory. */
const MAX_CHANGES = 1_000_000;

/** A row in the present columns; undefined: the column was added later. */
export type PastImage = readonly (Value | undefined)[];

export interface ChangedImages {
  readonly before: PastImage | null;
  readonly after: PastImage | null;
}

/** A row with the chosen changes of it, the oldest first. */
export interface ChosenRow {
  readonly shape: TableShape;
  readonly keyId: KeyId;
  readonly changes: ChangedImages[];
}

export interface Chosen {
  readonly transactions: number;
  readonly rows: readonly ChosenRow[];
  /** Tables whose rows cannot be taken back, with the reason. */
  readonly impossible: ReadonlyMap<string, string>;
}

/** Recorded entries with the reader that knows their tables. */
export interface RecordedEntries {
  readonly reader: HistoryReader;
  readonly entries: Iterable<PastEntry>;
}

export function chooseChanges(
  replicator: Replicator,
  options: UndoOptions,
  recorded: readonly RecordedEntries[],
): Chosen {
  const { table } = options;
  const isOrigin = originTest(replicator, options.origin);
  const rows = new Map<string, ChosenRow>();
  const impossible = new Map<string, string>();
  const transactions = new Set<string>();
  let count = 0;
  const take = (reader: HistoryReader, entry: PastEntry): void => {
    if (!isOrigin(entry.origin)) return;
    for (const [id, before, after] of entry.rows) {
      const past = reader.table(entry.version, id);
      if (past === null || (table !== null && !isSameName(past.name, table))) continue;
      transactions.add(`${entry.shard}:${entry.index}`);
      const present = presentShape(replicator, past);
      if (typeof present === "string") impossible.set(past.name, present);
      else note(rows, present, [before, after]);
      if (++count > MAX_CHANGES)
        throw new UserError(
          `more than ${MAX_CHANGES} changed rows are chosen`,
          "choose fewer, by a later time, a table or a node; or restore a backup with marmot restore --into-cluster",
        );
    }
  };
  for (const { reader, entries } of recorded) for (const entry of entries) take(reader, entry);
  return { transactions: transactions.size, rows: [...rows.values()], impossible };
}

function note(
  rows: Map<string, ChosenRow>,
  { shape, places }: Present,
  images: readonly [before: Uint8Array | null, after: Uint8Array | null],
): void {
  const [before, after] = images.map((bytes): PastImage | null => {
    if (bytes === null) return null;
    const image = decodeImage(bytes);
    return places === null ? image : places.map((place) => (place === -1 ? undefined : image[place]));
  }) as [PastImage | null, PastImage | null];
  const change = { before, after };
  // The columns of the key were there.
  const keyId = keyIdOfImage(shape, (after ?? before)! as Image);
  const name = `${shape.id}/${typeof keyId}/${keyId}`;
  const row = rows.get(name);
  if (row === undefined) rows.set(name, { shape, keyId, changes: [change] });
  else row.changes.push(change);
}

interface Present {
  readonly shape: TableShape;
  /** Of each present column its place in the past row, or -1; null: they are the same. */
  readonly places: readonly number[] | null;
}

/** The table as it is now, or the reason why its past rows do not fit: columns may have been added, and nothing else. */
function presentShape({ replica: { replica } }: Replicator, past: PastTable): Present | string {
  const shape = replica.shapes.get(past.table);
  if (shape === undefined) return "the table was dropped";
  const [now, then] = [shape.columns.map((c) => foldName(c.name)), past.columns.map(foldName)];
  if (now.join() === then.join()) return { shape, places: null };
  const places = now.map((name) => then.indexOf(name));
  const isSameKey = shape.key.map((k) => now[k]).join() === past.key.map((k) => then[k]).join();
  return then.every((name) => now.includes(name)) && isSameKey
    ? { shape, places }
    : "its columns have changed since";
}

/** `named`: a member's name, or the peer id of any node. */
function originTest(replicator: Replicator, named: string | null): (origin: number) => boolean {
  if (named === null) return () => true;
  const { members } = replicator.runtime.groups[0]!.configuration;
  const member = members.find((m) => m.name === named || m.peerId === named);
  const hash = peerHash(member?.peerId ?? named);
  if (member === undefined && replicator.replica.replica.origins.peerOf(hash) === "")
    throw new UserError(
      `no node ${named} is known`,
      `name one of ${members.map((m) => m.name).join(", ")}, or give a peer id of marmot diff --json`,
    );
  return (origin) => origin === hash;
}
