/** The files of the data directory. All other state of a node is in the application's file. */
import { join } from "node:path";

export interface DataPaths {
  readonly folder: string;
  readonly replica: string;
  /** A received replica that replaces `replica` at the next start. */
  readonly nextReplica: string;
  readonly log: string;
  /** The log of an unfinished join. */
  readonly joiningLog: string;
  readonly identity: string;
  readonly clusterKey: string;
  readonly addresses: string;
  readonly spool: string;
  readonly incoming: string;
  /** The replica that a joining node receives. */
  readonly joiningReplica: string;
  readonly controlSocket: string;
  readonly lock: string;
  /** Rejected rows that are too many for the conflict journal. */
  readonly rejects: string;
  /** The last applied entries, for the change feed and undo. */
  readonly history: string;
  /** The position up to which the consumer of the change feed has taken events. */
  readonly feed: string;
  /** Backups on their way to a store. */
  readonly backups: string;
  /** How far the passes of `--scan` have come. */
  readonly scans: string;
}

export function dataPaths(folder: string): DataPaths {
  return {
    folder,
    replica: join(folder, "replica.db"),
    nextReplica: join(folder, "replica.db.next"),
    log: join(folder, "log.db"),
    joiningLog: join(folder, "log.db.joining"),
    identity: join(folder, "node.key"),
    clusterKey: join(folder, "cluster.key"),
    addresses: join(folder, "addresses.json"),
    spool: join(folder, "spool", "changeset"),
    incoming: join(folder, "incoming"),
    joiningReplica: join(folder, "incoming", "replica.db"),
    controlSocket: join(folder, "control.sock"),
    lock: join(folder, "lock.db"),
    rejects: join(folder, "lost.db"),
    history: join(folder, "history.db"),
    feed: join(folder, "feed.json"),
    backups: join(folder, "backups"),
    scans: join(folder, "scans.json"),
  };
}
