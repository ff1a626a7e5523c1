/** The recorded entries that an undo is about: from the history, and from the archive where the history does not have them any more. */
import type { Clock } from "../../base/clock.ts";
import { UserError } from "../../base/errors.ts";
import { hasReached, parsePosition, showPosition } from "../../base/text/position-token.ts";
import { HistoryReader, type PastEntry } from "../../replica/history/history-reader.ts";
import type { Replicator } from "../../replication/replicator.ts";
import type { UndoOptions } from "../changes-api.ts";
import { latest } from "./change-lines.ts";
import type { RecordedEntries } from "./chosen-changes.ts";
import { BeforeHistory, type HistoryPlace, placeOf, requireHistory } from "./history-place.ts";
import type { PastSource } from "./past-source.ts";
import { refusedByBoth } from "./past-stream.ts";

/** Entries read at a time. */
const AT_ONCE = 200;
/** The history loses its beginning while the archive is read. */
const ATTEMPTS = 3;

export interface RecordedSource {
  readonly replicator: Replicator;
  readonly clock: Clock;
  /** null: there is no archive. */
  readonly past: PastSource | null;
}

/** Calls `use` with the entries. Rejects with `UserError` if neither the history nor the archive has them. */
export function withEntries<T>(
  source: RecordedSource,
  { position, since }: Pick<UndoOptions, "position" | "since">,
  use: (recorded: readonly RecordedEntries[]) => T,
): Promise<T> {
  return position === null ? entriesSince(source, since!, use) : entriesAt(source, position, use);
}

function* after({ id, position }: HistoryPlace, reader: HistoryReader): Generator<PastEntry, void> {
  for (let at = id; ;) {
    const entries = reader.after(at, AT_ONCE);
    for (const entry of entries) if (entry.index > (position[entry.shard] ?? 0)) yield entry;
    if (entries.length < AT_ONCE) return;
    at = entries.at(-1)!.id;
  }
}

function* upTo(last: number, entries: Iterable<PastEntry>): Generator<PastEntry, void> {
  for (const entry of entries) {
    if (entry.id > last) return;
    yield entry;
  }
}

async function entriesSince<T>(
  source: RecordedSource,
  since: string,
  use: (recorded: readonly RecordedEntries[]) => T,
): Promise<T> {
  const { replicator, clock, past } = source;
  const { reader } = requireHistory(replicator);
  let before: BeforeHistory;
  try {
    return use([{ reader, entries: after(placeOf(replicator, clock, since), reader) }]);
  } catch (error) {
    if (past === null || !(error instanceof BeforeHistory)) throw error;
    before = error;
  }
  for (let i = 0; i < ATTEMPTS; i++) {
    const seam = reader.firstState();
    const range = { since: before.since, until: showPosition(seam) };
    const position = latest(parsePosition(before.since) ?? [], seam);
    const used = await fromArchive(past, range, before, (archived) => {
      if (!hasReached(position, requireHistory(replicator).reader.reach.from)) return null;
      const entries = after({ id: reader.idBefore(position), position }, reader);
      return { result: use([archived, { reader, entries }]) };
    });
    if (used !== null) return used.result;
  }
  throw refusedByBoth(before, new Error(`entries leave the history faster than ${past.to} is read`));
}

async function entriesAt<T>(
  { replicator, past }: RecordedSource,
  given: string,
  use: (recorded: readonly RecordedEntries[]) => T,
): Promise<T> {
  const { reader } = requireHistory(replicator);
  const exact = /^(\d{1,3}):(\d{1,15})$/.exec(given) ?? /^(c):(\d{1,15})$/.exec(given);
  const [first, last] =
    exact === null
      ? reader.idsAt(given)
      : reader.idsOf(exact[1] === "c" ? 0 : Number(exact[1]), Number(exact[2]));
  if (first !== 0)
    return use([{ reader, entries: upTo(last, after({ id: first - 1, position: [] }, reader)) }]);
  const { from } = reader.reach;
  const missing = new UserError(
    `the history of this node, which begins after ${showPosition(from)}, has no transaction at ${given}`,
    "marmot diff --since 1h shows the transactions and their positions",
  );
  if (past === null) throw missing;
  const entry = exact === null ? given : `${exact[1] === "c" ? 0 : exact[1]}:${exact[2]}`;
  return fromArchive(past, { entry }, missing, (archived) => use([archived]));
}

/** Calls `use` with the entries that the archive recorded. */
async function fromArchive<T>(
  past: PastSource,
  wanted: Parameters<PastSource["record"]>[0],
  before: UserError,
  use: (archived: RecordedEntries) => T,
): Promise<T> {
  let used = false;
  try {
    return await past.record(wanted, (path) => {
      used = true;
      const reader = new HistoryReader(path);
      try {
        return use({ reader, entries: after({ id: 0, position: [] }, reader) });
      } finally {
        reader.close();
      }
    });
  } catch (error) {
    throw used ? error : refusedByBoth(before, error);
  }
}
