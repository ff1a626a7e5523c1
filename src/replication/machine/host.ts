/** The services of the machine besides time and files: network, syncing, file-system events, memory. */
import { randomBytes } from "node:crypto";
import { FileSync } from "../../app-db/file-sync.ts";
import type { WatchFolder } from "../../app-db/watcher.ts";
import type { FileChange } from "../../rows/file-life.ts";
import type { Transport } from "../../shard/seams.ts";
import {
  Libp2pTransport,
  type TransportComponents,
  type TransportOptions,
} from "../../transport/transport.ts";

/** Makes the committed transactions of the application's file durable. */
export interface SyncedFile {
  sync(): void;
  /** How the path differs from the opened file; null: it does not. */
  look(): FileChange | null;
  /** Not while a connection to the file is open. */
  close(): void;
  /** The version of SQLite that the application writes with; null: it is not known. Absent: it cannot be found out. */
  writerVersion?(): number | null;
}

/** The simulator has its own implementation. */
export interface Host {
  readonly transport: (components: TransportComponents, options: TransportOptions) => Transport;
  readonly appDbFile: (path: string) => SyncedFile;
  /** null: the events of the file system. */
  readonly watchFolder: WatchFolder | null;
  /** Bytes of memory that the process holds. */
  readonly memory: () => number;
  readonly collectGarbage: () => void;
  /** A random text for each process: it tells a process from a copy of it. */
  readonly nonce: () => string;
}

export const systemHost: Host = {
  transport: (components, options) => new Libp2pTransport(components, options),
  appDbFile: (path) => new FileSync(path),
  watchFolder: null,
  memory: () => process.memoryUsage.rss(),
  collectGarbage: () => Bun.gc(true),
  nonce: () => randomBytes(12).toString("hex"),
};
