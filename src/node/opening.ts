/**
 * Opens the replicator of a node: at the start, and again after a full disk, trouble with the file, a received replica or a
 * halt. Waits where the files cannot be opened yet.
 */
import { DataFiles } from "../replication/machine/data-files.ts";
import { existsSync, rmSync } from "node:fs";
import { nextTurn } from "../base/clock.ts";
import { errorMessage, isDamage, isDiskFull, UserError } from "../base/errors.ts";
import { EntryError, type Halt, HaltError } from "../base/halt.ts";
import type { PeerId } from "../base/ids.ts";
import type { Recovery } from "../operations/api.ts";
import { fileChecks } from "../operations/verify/file-checks.ts";
import { installSnapshot } from "../replica/copies/install-snapshot.ts";
import { Replicator } from "../replication/replicator.ts";
import { checkClusterSettings, readClusterSettings, shardsNote } from "./cluster-settings.ts";
import { silentStage, untilRoom } from "./startup/disk-full.ts";
import { isFileTrouble } from "./file/halted-file.ts";
import { entryHalt } from "./halt/refused.ts";
import { Halting } from "./halt/halting.ts";
import { mayFollow, readSuperseded, type Superseded, supersededHalt } from "./halt/superseded.ts";
import { rebuildReplica } from "./joining/rebuild-replica.ts";
import { lostReplica } from "./startup/lost-replica.ts";
import type { NodeCore } from "./node-core.ts";
import { Following } from "./recovery/following.ts";
import { planOf } from "./recovery/lost-majority.ts";
import { recoverFiles, removedError } from "./recovery/recover-files.ts";
import { checkMemberFiles, type Start } from "./startup/check-files.ts";
import { noteDataDir } from "./startup/held-file.ts";
import { type Epoch, plainEpoch } from "../shard/epochs.ts";
import { loadIdentity, signText } from "../transport/identity.ts";
import { switchToWal, untilWal } from "./startup/wal-mode.ts";

export class Opening {
  /** Gives a file that this node makes to the group of `--group`. */
  shareNewFile: () => void = () => {};
  readonly #core: NodeCore;
  /** The id of an epoch in which this node has no place. */
  #refusedEpoch = "";

  constructor(core: NodeCore) {
    this.#core = core;
  }

  halt(halt: Halt): void {
    this.#halting.halt(halt);
  }

  /** The cluster was recovered without this node, which has told its peers. */
  #superseded(epochs: readonly Epoch[]): void {
    const { replicator } = this.#core;
    const { by } = epochs.at(-1)!;
    const [group] = replicator?.runtime.groups ?? [];
    const follows = group !== undefined && mayFollow(group.configuration, replicator!.log.member);
    this.halt(
      supersededHalt(epochs.at(-1)!, replicator?.peers.nameOf(by) ?? by, {
        place: this.#core.place,
        follows,
      }),
    );
  }

  /** Once for each halt by a later epoch. */
  #follow({ epochs, clusterId }: Superseded): Following["onControl"] {
    const core = this.#core;
    const { paths, peerId, transport, router, stopping } = core;
    const { clock, logger } = core.components;
    const epoch = epochs.at(-1)!;
    if (this.#refusedEpoch === epoch.id) return () => {};
    const by = (): string => router.hellos.get(epoch.by)?.name ?? epoch.by;
    const isHalted = (): boolean => core.halted?.name === "superseded";
    const following = new Following(epoch, {
      ...{ paths, peerId, transport, clock, isHalted, signal: stopping.signal },
      onRefused: (because) => {
        this.#refusedEpoch = epoch.id;
        this.halt(supersededHalt(epoch, by(), { place: core.place, follows: false, because }));
      },
      onFollowed: ({ life, configurations }) => {
        logger.event("member", `follows ${by()} into epoch ${epoch.number} of the cluster`);
        router.introduce(epoch.by, { life, epochs: configurations[0]!.epochs?.map(plainEpoch) });
        router.enter(silentStage(clusterId));
        core.phase = "following the cluster into its next epoch";
        core.halting?.end();
        core.background = this.#recover(() => this.checkFiles(null));
      },
    });
    void following.ask().catch((error: unknown) => core.failWith(error));
    return (from, control) => following.onControl(from, control);
  }

  onRefused(peer: PeerId, reason: string): void {
    this.#core.router.refusedBy(peer, reason);
    this.#halting.onRefused(peer, reason, this.#core.replicator);
  }

  /** Made with the router, at the first use. */
  get #halting(): Halting {
    const core = this.#core;
    const { clock, logger } = core.components;
    core.halting ??= new Halting({
      ...{ clock, logger, router: core.router, place: core.place },
      setPhase: (phase) => {
        core.phase = phase;
      },
      take: () => core.takeReplicator(),
      superseded: () => readSuperseded(core.paths),
      follow: (superseded) => this.#follow(superseded),
      disconnect: () => {
        core.background = core.background.then(() => core.transport.stop());
      },
      resume: () => {
        if (!core.isStopping) this.enterOrWait();
      },
    });
    return core.halting;
  }

  /** Opens the replicator, or waits until that is possible. */
  enterOrWait(): void {
    try {
      const before = switchToWal(this.#core.options.db, 0);
      if (before === "busy") {
        this.#waitForWal();
        return;
      }
      this.#core.noteMode(before);
      this.#enter();
    } catch (error) {
      if (error instanceof HaltError) this.halt(error.halt);
      else if (isDiskFull(error)) this.waitForRoom(error);
      else if (isFileTrouble(error)) this.waitForFile(error);
      else throw error;
    }
  }

  #enter(): void {
    const core = this.#core;
    this.shareNewFile();
    this.shareNewFile = () => {};
    const replicator = this.#open();
    core.replicator = replicator;
    core.dataFiles = new DataFiles(core.paths);
    core.adoptArchive();
    replicator.messages.onFileAsked = fileChecks(replicator, core.components.clock);
    core.phase = "";
    core.guard.halt = null;
    const note = shardsNote(replicator.replica.replica.settings);
    if (note !== null && !core.notes.includes(note)) core.notes.push(note);
    if (replicator.pollingBecause !== "")
      core.notes.push(`the file system cannot be watched (${replicator.pollingBecause}): polling`);
    replicator.start();
    replicator.messages.takeOver(core.transport.connected());
  }

  #open(): Replicator {
    const core = this.#core;
    const { paths, peerId, host, transport, router, applicationVersion } = core;
    const { db, limits, replaceAfterMs, leaderFollowsWriter } = core.options;
    const { clock, random, logger } = core.components;
    core.appDbFile ??= host.appDbFile(db);
    return new Replicator(
      {
        ...{ db, paths, peerId, ...core.member, applicationVersion, keys: core.keys.fingerprints },
        ...limits,
        ...{ replaceAfterMs, leaderFollowsWriter },
        historyBytes: core.options.historyBytes ?? 0,
      },
      {
        ...{ transport, router, clock, logger, host, random: random.fork(), measures: core.measures },
        admitted: core.admitted === null ? undefined : (peer) => core.admitted!.roleOf(peer),
        onProgress: (progress) => core.report(progress),
        onFailure: (error) => {
          if (isDiskFull(error)) this.waitForRoom(error);
          else if (error instanceof HaltError) this.halt(error.halt);
          else if (isFileTrouble(error)) this.waitForFile(error);
          else if (error instanceof EntryError) this.halt(entryHalt(error, core.place));
          else core.failWith(error);
        },
        onReplacement: () => {
          core.background = this.#replace();
        },
        onRefused: (peer, reason) => this.onRefused(peer, reason),
        onSuperseded: (epochs) => this.#superseded(epochs),
      },
      core.appDbFile,
    );
  }

  /** `marmot members recover`: closes the files, and opens them in a new epoch of the cluster. Rejects with `UserError`. */
  async recover({ plan }: { readonly plan: boolean }): Promise<Recovery> {
    const core = this.#core;
    const { paths, peerId, replicator, transport } = core;
    const files = { db: core.options.db, paths, peerId };
    if (core.halted?.name === "removed") throw removedError();
    if (replicator === null && core.halted?.name !== "superseded")
      throw new UserError(
        `this node cannot begin a new epoch while it runs: ${core.phase}`,
        "stop it, run the same command again, and start it",
      );
    const effects = replicator === null ? await recoverFiles(files, null) : planOf(replicator, transport);
    if (plan) return effects;
    const key = await loadIdentity(paths.identity);
    if (core.isStopping || core.replicator !== replicator)
      throw new UserError("the state of this node changed", "marmot status shows it; try again");
    if (replicator !== null) core.router.enter(silentStage(replicator.clusterId));
    core.phase = "beginning a new epoch of the cluster";
    core.closeReplicator();
    const work = recoverFiles(files, { id: core.host.nonce(), sign: (text) => signText(key, text) });
    core.background = this.#recover(async () => {
      await Promise.allSettled([work]);
      core.halting?.end();
      // Halts the node again if a later epoch is still known.
      await this.checkFiles(null);
    });
    return work;
  }

  /** `seen`: the head of the application's file, if it was just read; null: read it. */
  async checkFiles(seen: Start["head"]): Promise<void> {
    const { options, paths, peerId } = this.#core;
    const isInstalled = await this.#installReceived();
    const settings = checkMemberFiles(options.db, paths, peerId, isInstalled ? null : seen);
    checkClusterSettings(options, settings);
  }

  /** Installs a replica that was received before the last stop. False: there is none. */
  async #installReceived(): Promise<boolean> {
    const core = this.#core;
    const { replica, nextReplica } = core.paths;
    if (!existsSync(nextReplica)) return false;
    const done = await installSnapshot({
      ...{ replica, received: nextReplica, peerId: core.peerId, appDb: core.options.db },
      onProgress: (rows) =>
        core.report({ work: "adopting a replica", done: rows, total: 0, unit: "rows", remainingMs: null }),
    });
    if (!done) rmSync(nextReplica); // this node's own replica is newer
    core.report(null);
    return true;
  }

  async #replace(): Promise<void> {
    const core = this.#core;
    try {
      core.phase = "installing a received replica";
      if (core.replicator !== null) core.router.enter(silentStage(core.replicator.clusterId));
      core.closeReplicator();
      await this.#installReceived();
      if (!core.isStopping) this.enterOrWait();
    } catch (error) {
      if (isDiskFull(error)) this.waitForRoom(error);
      else core.failWith(error);
    }
  }

  /** Closes all files, and opens them again when the replica was received from another member. `reason`: why it is lost. */
  rebuildReplica(reason: string): void {
    const core = this.#core;
    core.phase = reason;
    core.background = this.#recover(async () => {
      await nextTurn(); // not in the turn that failed
      core.closeReplicator();
      core.host.collectGarbage();
      const { paths, peerId, transport, router, stopping } = core;
      const { clock, logger } = core.components;
      await rebuildReplica(reason, {
        ...{ db: core.options.db, paths, peerId, transport, router, clock, logger, signal: stopping.signal },
        enter: (clusterId) => router.enter(silentStage(clusterId)),
        onPhase: (phase) => {
          core.phase = phase;
        },
        onProgress: (progress) => core.report(progress),
      });
      core.report(null);
      await this.checkFiles(null);
    });
  }

  /** Closes all files, and opens them again when the file at the path can be taken. `error`: null at the start. */
  waitForFile(error: unknown): void {
    const core = this.#core;
    const lost = isDamage(error) ? lostReplica(core.paths) : null;
    if (lost !== null) return this.rebuildReplica(lost);
    if (error !== null && core.guard.isTroubleAgain()) return core.failWith(error);
    try {
      core.dataFiles?.check(); // the data directory may have been exchanged together with the file
    } catch (failure) {
      if (failure instanceof HaltError) return this.halt(failure.halt);
      throw failure;
    }
    const clusterId = core.replicator?.clusterId ?? readClusterSettings(core.paths.replica).clusterId;
    core.router.enter(silentStage(clusterId));
    core.phase = "inspecting the application's file";
    core.background = this.#recover(async () => {
      await nextTurn(); // not in the turn that failed
      const open = { replicator: core.replicator, appDbFile: core.appDbFile };
      core.replicator = null;
      core.appDbFile = null;
      await core.guard.reopen(core.peerId, error, open);
      core.dataFiles?.checkLog();
      await this.checkFiles(null);
      if (!core.isStopping) noteDataDir(core.options.db, core.paths.folder);
    });
  }

  /** The application took the file out of WAL mode and uses it: the node goes on when its connections allow that. */
  #waitForWal(): void {
    const core = this.#core;
    const { db } = core.options;
    const { clock, logger } = core.components;
    core.phase = `${db} is not in WAL mode, and a transaction of another connection prevents the switch: waiting for its end`;
    logger.event("file", core.phase, {}, "warn");
    core.background = (async () => {
      try {
        core.noteMode(await untilWal(db, clock, core.stopping.signal));
        this.enterOrWait();
      } catch (error) {
        if (!core.isStopping) core.failWith(error);
      }
    })();
  }

  /**
   * Closes all files, as if the process had been killed, and opens them again when the disk has room. During this time
   * applications can write where their disk has room, and no ordered entry is lost.
   */
  waitForRoom(error: unknown): void {
    const core = this.#core;
    const { paths } = core;
    const { db } = core.options;
    const { clock, logger } = core.components;
    const clusterId = core.replicator?.clusterId ?? "";
    logger.event(
      "disk",
      "the disk is full; this node waits for room",
      { error: errorMessage(error) },
      "error",
    );
    core.phase = `the disk is full (${errorMessage(error)}): waiting for room`;
    if (clusterId !== "") core.router.enter(silentStage(clusterId));
    core.closeReplicator();
    core.background = this.#recover(async () => {
      // Not in the turn that failed: its callers still use the closed files.
      await untilRoom({ db, paths }, { clock, signal: core.stopping.signal }, (full) => {
        core.phase = `the disk is full: waiting for room in ${full.join(" and ")}`;
      });
      core.phase = "opening its files: there is room again";
      core.dataFiles?.checkLog();
      await this.checkFiles(null);
      if (!core.isStopping) logger.event("disk", "there is room again; going on");
    });
  }

  /** Opens the replicator after `wait`, unless the node stops. */
  async #recover(wait: () => Promise<void>): Promise<void> {
    const core = this.#core;
    try {
      await wait();
      if (!core.isStopping) this.enterOrWait();
    } catch (failure) {
      if (core.isStopping) return;
      if (isDiskFull(failure)) this.waitForRoom(failure);
      else if (failure instanceof HaltError) this.halt(failure.halt);
      else core.failWith(failure);
    }
  }
}
