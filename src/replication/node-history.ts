/** The history of a node: what it applied, recorded while it runs, and read by the change feed and by undo. */
import { errorMessage } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import { HistoryReader } from "../replica/history/history-reader.ts";
import { openHistoryFile } from "../replica/history/history-tables.ts";
import { HistoryWriter } from "../replica/history/history-writer.ts";
import type { SqliteLogStore } from "../log-store/sqlite-log-store.ts";
import type { OpenReplica } from "../replica/open-replica.ts";
import type { Replica } from "../replica/replica.ts";
import type { ReplicatorOptions } from "./replicator-components.ts";

/** null: it is switched off. */
export function openHistory(
  { paths, historyBytes: limit = 0 }: ReplicatorOptions,
  { replica }: OpenReplica,
  log: SqliteLogStore,
  logger: Logger,
): History | null {
  if (limit === 0) {
    log.keepFor(null);
    return null;
  }
  const { clusterId } = replica.settings;
  return new History({
    path: paths.history,
    clusterId,
    replica,
    log,
    limit,
    logger: logger.child("history"),
  });
}

interface HistoryParts {
  readonly path: string;
  readonly clusterId: string;
  readonly replica: Replica;
  /** Has the large values of the recorded rows. */
  readonly log: SqliteLogStore;
  /** Bytes of entries that are kept. */
  readonly limit: number;
  readonly logger: Logger;
}

export class History {
  readonly reader: HistoryReader;
  readonly #db: ReturnType<typeof openHistoryFile>;
  readonly #listeners = new Set<() => void>();
  /** Why nothing is recorded any more; "": it is. */
  failure = "";
  #closed = false;

  constructor({ path, clusterId, replica, log, limit, logger }: HistoryParts) {
    this.#db = openHistoryFile(path, clusterId);
    const writer = new HistoryWriter(this.#db, replica.positions(), {
      limit,
      log: log.kept,
      onFailure: (error) => {
        this.failure = errorMessage(error);
        logger.warn("the history is not recorded any more: the change feed and undo end here", {
          error: this.failure,
        });
        this.#wake();
      },
      onCommit: () => this.#wake(),
    });
    log.keepFor(writer.shared);
    this.reader = new HistoryReader(path, ([shard, index, offset, length]) =>
      log.kept.part({ shard, index, offset, length }),
    );
    replica.record(writer);
  }

  /** Calls `listener` when there may be new entries, and when the history ends. Returns the call that ends this. */
  listen(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  get isClosed(): boolean {
    return this.#closed;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.reader.close();
    this.#db.close();
    this.#wake();
  }

  #wake(): void {
    for (const listener of this.#listeners) listener();
  }
}
