/** The recorded changes that an undo is about, by row. */
import { UserError } from "../../base/errors.ts";
import { foldName, isSameName } from "../../base/names.ts";
import type { Clock } from "../../base/clock.ts";
import { decodeImage } from "../../change/codec.ts";
import { type KeyId, keyIdOfImage } from "../../change/key.ts";
import type { TableShape } from "../../change/shape.ts";
import type { Image, Value } from "../../change/value.ts";
import type { PastEntry, PastTable } from "../../replica/history/history-reader.ts";
import { peerHash } from "../../replica/store/tables.ts";
import type { Replicator } from "../../replication/replicator.ts";
import { placeOf, requireHistory, requireTable } from "./change-stream.ts";
import type { UndoOptions } from "../changes-api.ts";

/** Entries read at a time. */
const AT_ONCE = 200;
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

export function chooseChanges(replicator: Replicator, clock: Clock, options: UndoOptions): Chosen {
  const { position, since, table } = options;
  const isOrigin = originTest(replicator, options.origin);
  if (table !== null) requireTable(replicator, table);
  const rows = new Map<string, ChosenRow>();
  const impossible = new Map<string, string>();
  const transactions = new Set<string>();
  const entries =
    position === null ? entriesSince(replicator, clock, since!) : entriesAt(replicator, position);
  let count = 0;
  for (const entry of entries) {
    if (!isOrigin(entry.origin)) continue;
    for (const [id, before, after] of entry.rows) {
      const past = requireHistory(replicator).reader.table(entry.version, id);
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
  }
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

function* entriesSince(replicator: Replicator, clock: Clock, since: string): Generator<PastEntry, void> {
  const { reader } = requireHistory(replicator);
  const { id, position } = placeOf(replicator, clock, since);
  for (let at = id; ;) {
    const entries = reader.after(at, AT_ONCE);
    for (const entry of entries) if (entry.index > (position[entry.shard] ?? 0)) yield entry;
    if (entries.length < AT_ONCE) return;
    at = entries.at(-1)!.id;
  }
}

function* entriesAt(replicator: Replicator, given: string): Generator<PastEntry, void> {
  const { reader } = requireHistory(replicator);
  const exact = /^(\d{1,3}):(\d{1,15})$/.exec(given) ?? /^(c):(\d{1,15})$/.exec(given);
  const [first, last] =
    exact === null
      ? reader.idsAt(given)
      : reader.idsOf(exact[1] === "c" ? 0 : Number(exact[1]), Number(exact[2]));
  if (first === 0)
    throw new UserError(
      `the history of this node has no transaction at ${given}`,
      "marmot diff --since 1h shows the transactions and their positions",
    );
  for (let at = first - 1; at < last;) {
    const entries = reader.after(at, AT_ONCE);
    for (const entry of entries) if (entry.id <= last) yield entry;
    if (entries.length === 0) return;
    at = entries.at(-1)!.id;
  }
}
