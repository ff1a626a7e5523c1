/** Where a reader of the history begins, and the refusals of what it does not have. */
import { type Clock, sleep } from "../../base/clock.ts";
import { UserError } from "../../base/errors.ts";
import { foldName, isSameName } from "../../base/names.ts";
import { parseMoment } from "../../base/text/moment.ts";
import { hasReached, parsePosition, showPosition } from "../../base/text/position-token.ts";
import type { HistoryReader } from "../../replica/history/history-reader.ts";
import type { History } from "../../replication/node-history.ts";
import type { Replicator } from "../../replication/replicator.ts";
import type { TableFilter } from "./change-json.ts";

/** The history does not reach back that far. */
export class BeforeHistory extends UserError {
  /** The wanted beginning: a position, or a time with its zone. */
  readonly since: string;

  constructor(since: string, message: string, hint: string) {
    super(message, hint);
    this.since = since;
  }
}

export function requireHistory({ history }: Replicator): History {
  if (history === null) throw new UserError("this node records no history", "start it without --history off");
  if (history.failure !== "")
    throw new UserError(
      `this node records no history any more: ${history.failure}`,
      "start it again; the history then begins at that time",
    );
  return history;
}

/** Before the next entry: the id before it, and the position up to which entries are not wanted. */
export interface HistoryPlace {
  readonly id: number;
  readonly position: readonly number[];
}

/** A position, a time, or how long ago. */
export function placeOf(replicator: Replicator, clock: Clock, since: string): HistoryPlace {
  const { reader } = requireHistory(replicator);
  const { from } = reader.reach;
  const position = parsePosition(since);
  if (position !== null) {
    if (position.length !== from.length)
      throw new UserError(
        `${since} has ${position.length} shards, but this cluster has ${from.length}: it is of another cluster`,
        "marmot wait --json prints a position of this one",
      );
    if (!hasReached(position, from))
      throw new BeforeHistory(
        since,
        `the history of this node begins at ${showPosition(from)}, and ${since} is before that`,
        `begin with ${showPosition(from)}, or read the present rows; --history SIZE keeps more`,
      );
    return { id: reader.idBefore(position), position };
  }
  return { id: reader.idBeforeTime(timeOf(reader, clock, since)), position: from };
}

/** Clocks of machines differ. */
const AHEAD_MS = 60_000;

function timeOf(reader: HistoryReader, clock: Clock, since: string): number {
  const now = clock.wallTime();
  const time = parseMoment(since, now);
  if (time === null)
    throw new UserError(
      `since should be a position, a time, or how long ago, not ${since}`,
      "use c:812, 2026-11-29T12:00:00Z, or 10m",
    );
  if (time > now + AHEAD_MS)
    throw new UserError(
      `${since} is in the future; it is ${new Date(now).toISOString()}`,
      "use a time that has passed, or 10m for ten minutes ago",
    );
  if (time <= reader.removedUpTo())
    throw new BeforeHistory(
      new Date(time).toISOString(),
      `the history of this node begins at ${showPosition(reader.reach.from)}, after ${new Date(reader.removedUpTo()).toISOString()}, and ${since} is before that`,
      `begin with ${showPosition(reader.reach.from)}, or give run --archive, which keeps all of them; --history SIZE keeps more`,
    );
  return time;
}

/** For how long a position of another node may be ahead of this one. */
const ORDERED_MS = 5000;
const LOOK_MS = 20;

/** A position that is not ordered is of another cluster, or of a log that was restored from an older copy. */
export async function awaitOrdered(replicator: Replicator, clock: Clock, since: string): Promise<void> {
  const position = parsePosition(since);
  const { shards } = replicator.replica.replica.settings;
  if (position === null || position.length !== shards) return;
  const ordered = (): number[] => replicator.runtime.groups.map((group) => group.raft.commit);
  for (const end = clock.now() + ORDERED_MS; !hasReached(ordered(), position); await sleep(clock, LOOK_MS))
    if (clock.now() > end)
      throw new UserError(
        `${since} is not ordered: this node knows of ${showPosition(ordered())}`,
        "marmot wait --json prints a position of this cluster; marmot status shows whether this node is connected",
      );
}

/** Throws `UserError` for a table that neither replicates nor did so. */
export function requireTable(replicator: Replicator, table: string): void {
  const names = [...replicator.replica.replica.shapes.values()].map((s) => s.name);
  if (names.some((name) => isSameName(name, table))) return;
  if (requireHistory(replicator).reader.knowsTable(table)) return;
  throw new UserError(
    `no table ${table === "" ? '""' : table} replicates`,
    `name one of ${names.join(", ")}, or none for all`,
  );
}

export const everyTable: TableFilter = () => true;

/** null: all tables. Conflicts of rows without a table pass only then. */
export function tableFilter(tables: readonly string[] | null): TableFilter {
  if (tables === null) return everyTable;
  const wanted = new Set(tables.map(foldName));
  return (table) => table !== null && [...wanted].some((name) => isSameName(name, table.name));
}
