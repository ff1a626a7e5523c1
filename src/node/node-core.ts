/** The state of a node that its parts share: options, files, network, and the open replicator. */
import { join } from "node:path";
import { counted } from "../base/text/spans.ts";
import { errorMessage } from "../base/errors.ts";
import type { Clock } from "../base/clock.ts";
import type { Halt } from "../base/halt.ts";
import { NO_PEER, type PeerId } from "../base/ids.ts";
import type { Logger } from "../base/logger.ts";
import type { Random } from "../base/random.ts";
import type { NodeApi, VerifiedStatus, VerifyResult } from "../operations/api.ts";
import { EventList } from "../operations/events/event-list.ts";
import { History } from "../operations/health/history.ts";
import { Scans } from "../operations/scan/scans.ts";
import { Measures } from "../replication/measures/measures.ts";
import { type DataPaths, dataPaths } from "../replication/machine/data-paths.ts";
import { type Host, type SyncedFile, systemHost } from "../replication/machine/host.ts";
import type { OnProgress, ProgressStatus } from "../replication/machine/work-progress.ts";
import type { AdmittedPeers } from "../replication/members/admitted-peers.ts";
import type { MessageRouter } from "../replication/messages/message-router.ts";
import type { Replicator } from "../replication/replicator.ts";
import type { Transport } from "../shard/seams.ts";
import type { SqliteVersion } from "../sqlite/versions/sqlite-version.ts";
import { walResetNote } from "../sqlite/versions/writer-version.ts";
import type { Halting } from "./halt/halting.ts";
import { Webhook } from "../operations/changes/webhook.ts";
import { readSecret } from "./startup/secret-file.ts";
import type { ArchiveStore } from "../archive/stores/store.ts";
import { isFolder } from "./backup/beside/cluster-archive.ts";
import { Archiver, type ArchiverOptions } from "./backup/beside/archiver.ts";
import { ArchiveReader } from "./backup/beside/archive-reader.ts";
import { BackupSchedule } from "./backup/beside/schedule.ts";
import { FileGuard } from "./file/file-guard.ts";
import type { NodeOptions } from "./options.ts";
import type { DataFiles } from "../replication/machine/data-files.ts";
import type { NodePlace } from "../base/text/commands.ts";
import { nodeFileError } from "./startup/file-access.ts";
import { type NameAndRole, newMember } from "./startup/own-member.ts";

export interface NodeComponents {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** Receives the events of `logger`. Default: an empty list. */
  readonly events?: EventList;
  readonly onProgress?: OnProgress;
  /** The data directory exists, and is this process's. The API answers from now on. */
  readonly onLocked?: (api: NodeApi) => void;
  /** The command that starts this program: backups run beside the node. Absent: none are made. */
  readonly command?: readonly string[];
  /** Default: the machine itself. */
  readonly host?: Host;
  /** Default: opened by its name. */
  readonly archiveStore?: ArchiveStore;
}

export class NodeCore {
  readonly options: NodeOptions;
  readonly components: NodeComponents;
  readonly paths: DataPaths;
  readonly host: Host;
  readonly guard: FileGuard;
  readonly measures = new Measures();
  readonly history = new History(this.measures);
  readonly events: EventList;
  readonly scans: Scans;
  /** null: the change feed has no consumer. */
  readonly webhook: Webhook | null;
  /** null: no backups are made at regular times. */
  readonly backups: BackupSchedule | null;
  /** null: there is no archive. */
  archiver: Archiver | null;
  readonly failed: Promise<Error>;
  /** Notes for the user about the start. */
  readonly notes: string[] = [];
  readonly stopping = new AbortController();
  transport!: Transport;
  router!: MessageRouter;
  /** Of the data directory. */
  peerId: PeerId = NO_PEER;
  appDbFile: SyncedFile | null = null;
  /** Log and replica as this process opened them last; null: it has not yet. */
  dataFiles: DataFiles | null = null;
  /** null while the node joins, replaces its replica, waits or is halted. */
  replicator: Replicator | null = null;
  /** The SQLite with which the application wrote before this node did; null: unknown. */
  applicationVersion: SqliteVersion | null = null;
  /** Name and role of this node, from the cluster if it is a member. */
  member: NameAndRole;
  /** The current step of a start, as a sentence; "": the node has started. */
  phase = "starting";
  progress: ProgressStatus | null = null;
  /** The cluster keys. `file`: where they come from; "": the environment. */
  keys: { readonly fingerprints: readonly string[]; readonly file: string } = { fingerprints: [], file: "" };
  /** The list of `--admit`; null: each peer with the key may join. */
  admitted: AdmittedPeers | null = null;
  background: Promise<void> = Promise.resolve();
  hasFailed = false;
  halting: Halting | null = null;
  /** The last `verify` of this node. */
  verified: Omit<VerifiedStatus, "agoMs"> | null = null;
  #fail!: (error: Error) => void;

  /** For commands in hints. */
  get place(): NodePlace {
    return { db: this.options.db, folder: this.paths.folder };
  }

  constructor(options: NodeOptions, components: NodeComponents) {
    this.options = options;
    this.components = components;
    this.member = newMember(options);
    this.events = components.events ?? new EventList();
    this.host = components.host ?? systemHost;
    this.paths = dataPaths(options.dataDir);
    this.failed = new Promise((resolve) => {
      this.#fail = resolve;
    });
    const { clock, logger } = components;
    this.scans = new Scans(
      { replicator: () => this.replicator, clock, logger: logger.child("scan"), file: this.paths.scans },
      options.scan ?? {},
    );
    this.backups = this.#backupSchedule();
    this.webhook = this.#openWebhook();
    this.archiver = this.#openArchiver(options.archive ?? null, true);
    this.guard = new FileGuard(
      { file: options.db, paths: this.paths },
      {
        ...{ clock, logger, signal: this.stopping.signal },
        collectGarbage: () => this.host.collectGarbage(),
        onProgress: (progress) => this.report(progress),
      },
    );
  }

  #openWebhook(): Webhook | null {
    const { feed } = this.options;
    if (feed == null) return null;
    const { clock, logger } = this.components;
    const secret = feed.secretFile === null ? null : readSecret(feed.secretFile);
    const parts = {
      replicator: () => this.replicator,
      past: () => this.past,
      ...{ clock, logger: logger.child("feed") },
    };
    return new Webhook({ ...parts, file: this.paths.feed }, { url: feed.url, secret });
  }

  /** Ships to the archive of the cluster, unless this node has one of its own. */
  adoptArchive(): void {
    const archive = this.replicator?.replica.replica.settings.archive;
    if (this.archiver !== null || archive === undefined || this.isStopping) return;
    this.archiver = this.#openArchiver({ ...archive, keyFile: null }, !isFolder(archive.to));
    this.archiver?.start();
  }

  #openArchiver(archive: ArchiverOptions | null, mayCreate: boolean): Archiver | null {
    if (archive === null) return null;
    const { clock, logger, random, command = null, archiveStore: store = null } = this.components;
    return new Archiver(
      {
        ...{ clock, command, store, random: random.fork(), logger: logger.child("archive") },
        replicator: () => this.replicator,
        scratch: join(this.paths.incoming, "archived"),
      },
      { ...archive, mayCreate },
    );
  }

  #past: ArchiveReader | null = null;

  /** The archive as the feed and undo read it; null: there is none, or no process can be started beside the node. */
  get past(): ArchiveReader | null {
    const { command, clock } = this.components;
    const archive = this.archiver?.status;
    if (archive === undefined || command === undefined) return null;
    const { dataDir, functions = null, libraries = [] } = this.options;
    return (this.#past ??= new ArchiveReader(
      { clock, command, scratch: join(this.paths.incoming, "past") },
      { to: archive.to, keyFile: archive.keyFile, dataDir, functions, libraries },
    ));
  }

  #backupSchedule(): BackupSchedule | null {
    const { backups, dataDir, functions, libraries } = this.options;
    const { clock, logger, command } = this.components;
    if (backups == null || command === undefined) return null;
    return new BackupSchedule(
      { clock, logger: logger.child("backup"), command, ready: () => this.replicator !== null },
      { ...backups, db: this.options.db, dataDir, functions: functions ?? null, libraries: libraries ?? [] },
    );
  }

  /** Why members of the cluster refuse this node; null: none does. */
  get halted(): Halt | null {
    return this.halting?.halted ?? null;
  }

  get isStopping(): boolean {
    return this.stopping.signal.aborted;
  }

  report(progress: ProgressStatus | null): void {
    this.progress = progress;
    this.components.onProgress?.(progress);
  }

  noteVersion(version: SqliteVersion | null): void {
    this.applicationVersion = version;
    const note = walResetNote(version);
    if (note !== null) this.notes.push(`${note.message} (hint: ${note.hint})`);
  }

  noteVerified({ equal, complete, rows, nodes }: VerifyResult): void {
    const at = this.components.clock.wallTime();
    const differ = equal ? "equal" : "NOT EQUAL: marmot verify --deep names the rows";
    const all = complete ? "" : ", not all voters answered";
    this.components.logger.event(
      "verify",
      `compared ${counted(rows, "row")} on ${counted(nodes.length, "node")}: ${differ}${all}`,
      { equal, complete, rows, nodes },
      equal ? "info" : "error",
    );
    this.verified = { at, equal, complete, rows, nodes: nodes.length };
  }

  /** `before`: the journal mode of the file before this start. */
  noteMode(before: string): void {
    if (before !== "wal") this.notes.push(`switched ${this.options.db} from journal mode ${before} to WAL`);
  }

  closeReplicator(): void {
    this.takeReplicator()?.close();
  }

  /** The caller closes it. */
  takeReplicator(): Replicator | null {
    const taken = this.replicator;
    this.replicator = null;
    return taken;
  }

  failWith(error: unknown): void {
    const explained = nodeFileError(error, { db: this.options.db, ...this.paths });
    const failure = explained ?? (error instanceof Error ? error : new Error(errorMessage(error)));
    this.phase = `stopped: ${failure.message}`;
    this.hasFailed = true;
    this.scans.stop();
    this.replicator?.loop.stop();
    this.#fail(failure);
  }
}
