/** Changes from an archive, as the feed of a node gives them: the entries after a snapshot are applied again, and recorded. */
import { join } from "node:path";
import { type Archive, openArchive, showPlace } from "../../archive/archive.ts";
import { endOf, replay, type Target } from "../../archive/replay.ts";
import { systemClock } from "../../base/clock.ts";
import { UserError } from "../../base/errors.ts";
import { hasReached, parsePosition, showPosition } from "../../base/text/position-token.ts";
import { openHistoryFile } from "../../replica/history/history-tables.ts";
import type { ChangeLine } from "../../operations/changes-api.ts";
import { awaitTarget } from "./archive-target.ts";
import { type Moment, Telling, type WantedChanges } from "./telling.ts";

export interface ArchivedChangesOptions {
  readonly source: string;
  readonly keyFile: string | null;
  readonly wanted: WantedChanges;
  /** null: up to the end. */
  readonly until: readonly number[] | null;
  /** Names; null: all tables. */
  readonly tables: readonly string[] | null;
  /** Peer id ⇒ the name of the node. */
  readonly names: ReadonlyMap<string, string>;
  /** A folder of the caller for the files of this work. */
  readonly folder: string;
  /** The changes are recorded in a new database of this path, as a history has them; null: they are told. */
  readonly record: string | null;
  /** A beginning before the archive is refused; else the changes begin with the archive. */
  readonly strict: boolean;
  /** The archive has the beginning, and changes come from this position on. */
  readonly onBegin?: (from: string) => void;
  /** After some entries. */
  readonly onProgress?: (position: string) => void;
}

/** Tells the events. Returns the first position, and whether the archive goes back to the wanted beginning. */
export async function archivedChanges(
  options: ArchivedChangesOptions,
  tell: (line: ChangeLine) => void,
): Promise<{ readonly from: string; readonly complete: boolean }> {
  const { wanted, until, strict, folder, onBegin, onProgress } = options;
  const archive = await openArchive(options.source, options.keyFile);
  const target: Target = until === null ? { kind: "newest" } : { kind: "position", position: until };
  const reach = await requireReach(archive, target);
  const beginning = beginningOf(wanted, archive);
  const path = options.record ?? join(folder, "history.db");
  const db = openHistoryFile(path, archive.document.cluster);
  let [from, complete] = ["", true];
  const told: { telling: Telling | null } = { telling: null };
  try {
    await replay({
      ...{ archive, target, from: beginning, file: join(folder, "replica.db") },
      onOpen: (open, { at }) => {
        const positions = open.replica.positions();
        from = showPosition(positions);
        complete =
          beginning.kind === "time" ? at <= beginning.time : hasReached(beginning.position, positions);
        if (!complete && strict) throw tooEarly(wanted, archive, `${showPlace(positions, at)} to ${reach}`);
        onBegin?.(from);
        told.telling = new Telling(open, { path, db, tell, ...options });
      },
      onSegment: (replica) => {
        onProgress?.(showPosition(replica.positions()));
        return told.telling!.go();
      },
    });
    if (wanted.kind === "entry" && !told.telling!.isFound)
      throw new UserError(
        `the archive ${archive.shown} has no transaction at ${wanted.entry}: it has ${from} to ${reach}`,
        "marmot diff --since 1h shows the transactions and their positions; SHARD:INDEX names one in a cluster of many shards",
      );
    return { from, complete };
  } finally {
    told.telling?.close();
    db.close();
  }
}

/** Waits for entries that are on their way. Returns the end of the archive. */
async function requireReach(archive: Archive, target: Target): Promise<string> {
  await awaitTarget(archive, target, systemClock);
  const { to, since } = (await endOf(archive)).link;
  const reach = showPlace(to, since);
  if (target.kind !== "position" || hasReached(to, target.position)) return reach;
  throw new UserError(
    `the archive ${archive.shown} ends at ${reach}, before ${showPosition(target.position)}`,
    "try it again when marmot archive status shows that the node ships",
  );
}

function tooEarly(wanted: WantedChanges, archive: Archive, reach: string): UserError {
  const asked =
    wanted.kind === "entry"
      ? wanted.entry
      : wanted.since.kind === "time"
        ? new Date(wanted.since.time).toISOString()
        : showPosition(wanted.since.position);
  return new UserError(
    `${asked} is before the first snapshot of the archive ${archive.shown}: it has ${reach}`,
    "give a moment between them, or read the present rows",
  );
}

/** A moment from which on the wanted changes come. Throws `UserError` if it is of another cluster. */
function beginningOf(wanted: WantedChanges, { document, shown }: Archive): Moment {
  const moment = wanted.kind === "since" ? wanted.since : beforeEntry(wanted.entry, document.shards);
  if (moment.kind === "time" || moment.position.length === document.shards) return moment;
  throw new UserError(
    `${showPosition(moment.position)} has ${moment.position.length} parts, and the cluster of the archive ${shown} has ${document.shards} shards`,
    "marmot archive status shows positions of it",
  );
}

function beforeEntry(entry: string, shards: number): Moment {
  const exact = /^(\d{1,3}):(\d{1,15})$/.exec(entry);
  if (exact !== null) {
    const position = Array.from({ length: shards }, () => Number.MAX_SAFE_INTEGER);
    position[Number(exact[1])] = Math.max(0, Number(exact[2]) - 1);
    return { kind: "position", position };
  }
  const position = parsePosition(entry);
  if (position !== null) return { kind: "position", position: position.map((at) => Math.max(0, at - 1)) };
  throw new UserError(`${entry} is no position`, "a position looks like c:812, or 0:812 with its shard");
}
