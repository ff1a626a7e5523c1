/** Changes from an archive, as the feed of a node gives them: the entries after a snapshot are applied again, and recorded. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openArchive } from "../../archive/archive.ts";
import { replay, type Target } from "../../archive/replay.ts";
import { hasReached } from "../../base/text/position-token.ts";
import { eventsOf, type PastNames } from "../../operations/changes/change-json.ts";
import { tableFilter } from "../../operations/changes/change-stream.ts";
import { HistoryReader } from "../../replica/history/history-reader.ts";
import { openHistoryFile } from "../../replica/history/history-tables.ts";
import { HistoryWriter } from "../../replica/history/history-writer.ts";
import type { OpenReplica } from "../../replica/open-replica.ts";
import type { Replica } from "../../replica/replica.ts";

const AT_ONCE = 200;

export interface ArchivedChangesOptions {
  readonly source: string;
  readonly keyFile: string | null;
  /** A time or a position. */
  readonly since: Target;
  /** Names; null: all tables. */
  readonly tables: readonly string[] | null;
  /** Peer id ⇒ the name of the node. */
  readonly names: ReadonlyMap<string, string>;
}

/** Calls `onLine` with each event, a JSON object without the members of a position that is not complete. Returns the first position. */
export async function archivedChanges(
  options: ArchivedChangesOptions,
  onLine: (json: string) => void,
): Promise<{ readonly from: readonly number[] }> {
  const archive = await openArchive(options.source, options.keyFile);
  const folder = mkdtempSync(join(tmpdir(), "marmot-diff-"));
  const path = join(folder, "history.db");
  const db = openHistoryFile(path, archive.document.cluster);
  let from: readonly number[] = [];
  try {
    await replay({
      ...{ archive, target: { kind: "newest" }, from: options.since, file: join(folder, "replica.db") },
      onOpen: ({ replica }) => {
        from = replica.positions();
        record(replica, db);
      },
      onDone: (open) => tell(open, path, options, onLine),
    });
    return { from };
  } finally {
    db.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

function record(replica: Replica, db: ReturnType<typeof openHistoryFile>): void {
  replica.record(
    new HistoryWriter(db, replica.positions(), {
      limit: Number.MAX_SAFE_INTEGER,
      onFailure: (error) => {
        throw error;
      },
      onCommit: () => {},
    }),
  );
}

function tell(
  { replica }: OpenReplica,
  path: string,
  { since, tables, names }: ArchivedChangesOptions,
  onLine: (json: string) => void,
): void {
  const reader = new HistoryReader(path);
  const wants = tableFilter(tables);
  const past: PastNames = {
    origin: (hash) => {
      const peer = replica.origins.peerOf(hash);
      return { peer, name: names.get(peer) ?? (peer === "" ? "unknown" : peer) };
    },
    table: (version, id) => reader.table(version, id),
    conflict: () => null,
  };
  const isBefore = ({ time, shard, index }: { time: number; shard: number; index: number }): boolean =>
    since.kind === "time"
      ? time < since.time
      : since.kind === "position" && index <= (since.position[shard] ?? 0);
  try {
    for (let [id, part] = [0, 0]; ;) {
      const entries = reader.after(id, AT_ONCE);
      for (const entry of entries) {
        id = entry.id;
        part++;
        const events = isBefore(entry) ? [] : eventsOf(past, entry, { part, wants });
        const position = entry.last ? `"position":"${entry.position}",` : "";
        for (const { kind, body } of events) onLine(`{"kind":"${kind}",${position}${body}}`);
        if (entry.last) part = 0;
      }
      if (entries.length < AT_ONCE) return;
    }
  } finally {
    reader.close();
  }
}

/** The archive has every change since then. */
export const coversSince = (since: Target, from: readonly number[]): boolean =>
  since.kind !== "position" || hasReached(since.position, from);
