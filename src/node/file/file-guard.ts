/** Guards the file of a member: takes it before a replicator is opened on it, and halts the node while it cannot be taken. */
import { type Clock, nextTurn } from "../../base/clock.ts";
import { errorMessage, isDamage, UserError } from "../../base/errors.ts";
import { type Halt, haltSentence } from "../../base/halt.ts";
import type { PeerId } from "../../base/ids.ts";
import type { Logger } from "../../base/logger.ts";
import type { FileRepair } from "../../operations/api.ts";
import type { DataPaths } from "../../replication/machine/data-paths.ts";
import type { SyncedFile } from "../../replication/machine/host.ts";
import type { Replicator } from "../../replication/replicator.ts";
import type { OnProgress } from "../../replication/machine/work-progress.ts";
import { FileChangedError, removedPart } from "../../rows/file-life.ts";
import { overwrittenHalt, untilFileTaken } from "./halted-file.ts";
import { repairFile } from "./repair-file.ts";
import { takeFile } from "./file-custody.ts";

/** Inspections of the file within this time after which the trouble is a failure of the node. */
const TROUBLES = 5;
const TROUBLE_MS = 10_000;

/** Halts that `marmot repair` ends. */
const OF_FILE: readonly string[] = ["file-replaced", "file-older", "damaged"];

export interface FileGuardOptions {
  readonly file: string;
  readonly paths: DataPaths;
}

export interface FileGuardComponents {
  readonly clock: Clock;
  readonly logger: Logger;
  /** Aborted when the node stops. */
  readonly signal: AbortSignal;
  readonly collectGarbage: () => void;
  readonly onProgress: OnProgress;
}

/** What is open on the file. */
interface OpenFile {
  readonly replicator: Replicator | null;
  readonly appDbFile: SyncedFile | null;
}

export class FileGuard {
  readonly #options: FileGuardOptions;
  readonly #components: FileGuardComponents;
  /** Times at which the file had to be inspected. */
  #troubles: number[] = [];
  #isRepairing = false;
  /** The file cannot be opened again in this process. */
  mustRestart = false;
  /** Why the node does not replicate; null: not because of its file. */
  halt: Halt | null = null;

  constructor(options: FileGuardOptions, components: FileGuardComponents) {
    this.#options = options;
    this.#components = components;
  }

  /** At the start. False: the node is halted. */
  async take(peerId: PeerId): Promise<boolean> {
    const custody = await takeFile({ ...this.#options, peerId, pause: nextTurn });
    if (custody.halt !== null) this.#haltWith(custody.halt);
    else this.#logDone(custody.done);
    return custody.halt === null;
  }

  /** The file was inspected and found sound a few times shortly before, and the trouble did not end. */
  isTroubleAgain(): boolean {
    const now = this.#components.clock.now();
    this.#troubles = [...this.#troubles.filter((at) => now - at < TROUBLE_MS), now];
    return this.#troubles.length > TROUBLES;
  }

  /**
   * Closes everything on the file, and resolves when it can be opened again. `error`: null at the start. Not in the turn that
   * failed: its callers still use the file. Never resolves where only another process may open the file.
   */
  async reopen(peerId: PeerId, error: unknown, { replicator, appDbFile }: OpenFile): Promise<void> {
    const { file } = this.#options;
    const { clock, logger, signal, collectGarbage } = this.#components;
    if (error !== null)
      logger.event("file", "the application's file is inspected", { error: errorMessage(error) }, "warn");
    const change = error instanceof FileChangedError ? error.change : null;
    const overwritten = overwrittenHalt(file, change);
    if (overwritten !== null) {
      replicator?.abandonFile();
      this.mustRestart = true;
      this.#haltWith(overwritten);
      await new Promise((_, reject) =>
        signal.addEventListener("abort", () => reject(signal.reason as Error)),
      );
    }
    replicator?.close();
    appDbFile?.close();
    collectGarbage(); // until then statements keep closed connections, and their locks
    const isSuspect = isDamage(error) || removedPart(change) !== null;
    const done = await untilFileTaken({ ...this.#options, peerId, isSuspect }, change, {
      ...{ clock, signal, isBusy: () => this.#isRepairing },
      report: (halt) => this.#haltWith(halt),
    });
    this.#logDone(done);
    if (this.halt !== null) logger.event("file", "the file can be taken; going on", { file });
  }

  #logDone(done: string): void {
    if (done !== "") this.#components.logger.event("file", done, { file: this.#options.file }, "warn");
  }

  #haltWith(halt: Halt): void {
    if (this.halt?.name === halt.name && this.halt.reason === halt.reason) return;
    this.halt = halt;
    this.#components.logger.event(
      "halt",
      `this node does not replicate: ${haltSentence(halt)}`,
      { halt: halt.name, hint: halt.hint },
      "error",
    );
  }

  /** Throws `UserError` unless the node is halted because of its file. */
  async repair(peerId: PeerId): Promise<FileRepair> {
    const { file: db, paths } = this.#options;
    const { clock, onProgress } = this.#components;
    if (this.halt === null || !OF_FILE.includes(this.halt.name))
      throw new UserError(`${db} needs no repair`, "marmot verify compares it with the replica");
    if (this.mustRestart)
      throw new UserError(
        `this node has the overwritten ${db} open`,
        "stop the node, and give the command again",
      );
    if (this.#isRepairing)
      throw new UserError(`${db} is being repaired already`, "wait for the other repair");
    this.#isRepairing = true;
    try {
      return await repairFile(
        { db, paths, peerId },
        {
          wallTime: () => clock.wallTime(),
          onProgress: (done) =>
            onProgress({ work: "building the file", done, total: 0, unit: "rows", remainingMs: null }),
        },
      );
    } finally {
      onProgress(null);
      this.#isRepairing = false;
    }
  }
}
