/** The files of a node's data directory. Nothing is kept anywhere else but in the application's file. */
import { join } from "node:path";

export interface DataPaths {
  readonly folder: string;
  readonly replica: string;
  /** A received replica that is to take the place of `replica` at the next start. */
  readonly nextReplica: string;
  readonly log: string;
  /** The log of a join that is not finished. */
  readonly joiningLog: string;
  readonly identity: string;
  readonly clusterKey: string;
  readonly addresses: string;
  readonly spool: string;
  readonly incoming: string;
  readonly controlSocket: string;
  readonly lock: string;
  /** Rows of tables that do not stand; see `lost-file.ts`. */
  readonly lost: string;
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
    controlSocket: join(folder, "control.sock"),
    lock: join(folder, "lock.db"),
    lost: join(folder, "lost.db"),
  };
}
