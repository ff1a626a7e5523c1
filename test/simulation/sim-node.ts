/**
 * A node of the simulation: the real `Node` on a machine with simulated time, network, file events and power. A crash
 * keeps the state on disk at that moment; later effects of the process in the same event are undone.
 */
import type { PeerId } from "../../src/base/ids.ts";
import { existsSync } from "node:fs";
import type { DatabaseSync } from "node:sqlite";
import type { Clock } from "../../src/base/clock.ts";
import type { Logger } from "../../src/base/logger.ts";
import { silentLogger } from "../silent-logger.ts";
import { Random } from "../../src/base/random.ts";
import type { Host } from "../../src/replication/machine/host.ts";
import type { Replicator } from "../../src/replication/replicator.ts";
import { Node } from "../../src/node/node.ts";
import type { NodeOptions } from "../../src/node/options.ts";
import { openDatabase } from "../../src/sqlite/open.ts";
import { Application } from "./application.ts";
import {
  cutPower,
  type Image,
  imageOf,
  imageOfDatabase,
  restore,
  restoreDatabase,
  SyncMark,
} from "./disk.ts";
import { type Network, SimTransport } from "./network.ts";
import type { MemoryStore } from "./archive.ts";
import type { World } from "./world.ts";

/** Milliseconds that pass at each look at the clock, since code takes time. */
const LOOK_MS = 0.01;
/** A file event this long after a commit, at most; some do not come at all. */
const EVENT_MS = 2;
/** The error of a failed write or sync; the node must stop after it. */
export const IO_ERROR = "EIO: i/o error";
/** More than a run writes. */
const HISTORY_BYTES = 64 << 20;
const WALL_START = 1_700_000_000_000;
const ARCHIVE: NonNullable<NodeOptions["archive"]> = {
  ...{ to: "memory", intervalMs: 40, keep: { ms: null, snapshots: null }, keyFile: null },
  limits: { copyLinks: 15, mergeMs: 240 },
};
const CLUSTER_KEY = `marmot-cluster-key-1:${Buffer.alloc(32, 7).toString("base64")}`;

/** Work of a process that has ended: only promises that wait for it matter. Its files are closed. */
function afterEnd(work: () => void): void {
  try {
    work();
  } catch {
    // A closed file was used.
  }
}

export type NodeState = "down" | "starting" | "up" | "dying";

/** Which files lose what was not synced; `null`: the machine goes on, only the process dies. */
export interface PowerCut {
  readonly appDb: boolean;
  readonly replica: boolean;
  readonly log: boolean;
}

export interface SimNodeOptions {
  readonly number: number;
  /** Of a clone, in the network; absent: the peer id. */
  readonly address?: string;
  readonly folder: string;
  readonly peerId: PeerId;
  readonly shards: number;
  readonly transactions: "whole" | "row";
  readonly keepEntries: number;
  /** Speed of this node's clock. */
  readonly rate: number;
  /** Chance that a file event does not come. */
  readonly eventLoss: number;
  /** `PRAGMA synchronous` of the application. */
  readonly synchronous: "NORMAL" | "FULL";
  readonly role?: "voter" | "learner";
  readonly replaceAfterMs?: number;
  /** They ship to it; absent: nowhere. */
  readonly archive?: MemoryStore;
  /** More settings of the cluster; absent: the defaults. */
  readonly settings?: Pick<NodeOptions, "merge" | "foreignKeys" | "idBlock">;
}

export interface SimNodeHooks {
  /** Before a message leaves. */
  readonly onSend: (node: SimNode, message: Uint8Array) => void;
  /** The hello that it shows; absent: its own. */
  readonly onHello?: (node: SimNode, bytes: Uint8Array) => Uint8Array;
  /** The node stopped by itself. */
  readonly onFailure: (node: SimNode, error: Error) => void;
  /** A process begins. */
  readonly onStarted: (node: SimNode) => void;
  /** A peer sent what is no message. */
  readonly onRefused: (node: SimNode, from: string, error: unknown) => void;
  /** After a power cut and before the next start: the app database has the part that was durable. */
  readonly onPowerLost: (node: SimNode) => void;
}

interface Death {
  readonly power: PowerCut | null;
  readonly downMs: number;
  readonly undo: boolean;
  /** During the work of the node, not between two events. */
  readonly interrupted: boolean;
}

interface Burial {
  readonly image: Image;
  readonly appDb: Image | null;
  readonly downMs: number;
  readonly power: boolean;
}

export class SimNode {
  readonly options: SimNodeOptions;
  readonly name: string;
  readonly peerId: PeerId;
  readonly file: string;
  readonly dataDir: string;
  readonly application: Application;
  readonly #world: World;
  readonly #network: Network;
  readonly #random: Random;
  /** Apart, so that a plan of a time without histories has the same course. */
  readonly #historyRandom: Random;
  readonly #hooks: SimNodeHooks;
  readonly #verbose: boolean;
  state: NodeState = "down";
  /** Counts processes. */
  generation = 0;
  #node: Node | null = null;
  #transport: SimTransport | null = null;
  readonly #synced: SyncMark;
  #starting: Promise<unknown> = Promise.resolve();
  #onEvent: ((name: string | null) => void) | null = null;
  #paused = false;
  #backlog: (() => void)[] = [];
  #interrupt: { looks: number; run: () => void } | null = null;
  #interrupting = false;
  /** The application's file is about to be put back. */
  #undoing = false;
  /** Until then writing takes this many milliseconds. */
  slow: { until: number; ms: number } = { until: 0, ms: 0 };
  /** Until then the disk is full for these files. */
  full: { until: number; what: "log" | "replica" | "live" } | null = null;
  /** The next write or sync of these fails. */
  broken: { what: "log" | "live"; written: boolean } | null = null;
  /** The process to which that happened. */
  #failedIo = -1;
  wallJump = 0;
  /** The first node is no longer the one that formed the cluster: it joins it. */
  rejoins = false;
  /** Refuses to start again by itself. */
  keepDown = false;
  /** Something ran in the process since an onlooker reset this. */
  touched = false;
  /** The capture is in the file. */
  #captured = false;
  /** It received a replica over its own at some time. */
  adopted = false;
  /** Counts how often the application's file was put back. */
  fileEpoch = 0;

  constructor(
    options: SimNodeOptions,
    components: { world: World; network: Network; random: Random; hooks: SimNodeHooks; verbose: boolean },
  ) {
    this.options = options;
    this.name = `n${options.number}`;
    this.peerId = options.peerId;
    this.file = `${options.folder}/${this.name}.db`;
    this.dataDir = `${this.file}.marmot`;
    this.#world = components.world;
    this.#network = components.network;
    this.#random = components.random;
    this.#historyRandom = new Random(options.number + 1);
    this.#hooks = components.hooks;
    this.#verbose = components.verbose;
    this.#synced = new SyncMark(this.file);
    this.application = new Application(this.file, options.number, options.synchronous);
  }

  /** The running member; null while the process is down, joining or installing a snapshot. */
  get member(): Replicator | null {
    return this.state === "up" ? (this.#node?.replicator ?? null) : null;
  }

  get node(): Node | null {
    return this.state === "up" ? this.#node : null;
  }

  /** What a process that is no member yet says of itself. */
  get starting(): string {
    return (this.state === "starting" ? this.#node?.api.notReady() : null) ?? "";
  }

  /** The member even while the process is still starting. */
  get process(): Replicator | null {
    return this.state === "dying" ? null : (this.#node?.replicator ?? null);
  }

  /** The application can write. */
  get writable(): boolean {
    return !this.#undoing;
  }

  get paused(): boolean {
    return this.#paused;
  }

  // ------------------------------------------------------------------------------------------ process

  /** The machine starts with the files on its disk; applications run, and Marmot starts. */
  begin(): void {
    this.application.open();
    this.#synced.take();
    this.start();
  }

  start(): void {
    if (this.state !== "down") return;
    this.state = "starting";
    const generation = ++this.generation;
    this.#hooks.onStarted(this);
    const { shards, transactions, keepEntries, number, settings, replaceAfterMs, archive } = this.options;
    const options: NodeOptions = {
      db: this.file,
      dataDir: this.dataDir,
      listen: [],
      announce: [],
      peers: number === 0 && !this.rejoins ? [] : ["/memory/n0"],
      mdns: false,
      group: null,
      bootstrapExpect: null,
      name: this.name,
      role: this.options.role ?? "voter",
      create: false,
      clusterKeyText: CLUSTER_KEY,
      clusterKeyFile: null,
      shards: number === 0 ? shards : null,
      transactions: number === 0 ? transactions : null,
      merge: null,
      foreignKeys: null,
      idBlock: null,
      ...(number === 0 ? settings : undefined),
      tables: null,
      exclude: null,
      ...(replaceAfterMs === undefined ? {} : { replaceAfterMs }),
      historyBytes: HISTORY_BYTES,
      ...(archive === undefined ? {} : { archive: ARCHIVE }),
      limits: { keepEntries, logWalPages: 16 },
    };
    const node = new Node(options, {
      clock: this.#clock(),
      random: this.#random.fork(),
      logger: this.#verbose ? this.#logger() : silentLogger,
      host: this.#host(generation),
      ...(archive === undefined ? {} : { archiveStore: archive.of(() => generation === this.generation) }),
    });
    this.#node = node;
    void node.failed.then((error) => this.#failed(generation, error));
    this.#starting = node.start().then(
      () => {
        if (this.generation === generation) this.state = "up";
      },
      (error: unknown) => this.#failed(generation, error instanceof Error ? error : new Error(String(error))),
    );
  }

  #failed(generation: number, error: Error): void {
    if (this.generation !== generation || this.state === "dying") return;
    this.#world.log(`${this.name} stopped by itself: ${error.message}`);
    this.#hooks.onFailure(this, error);
  }

  /**
   * The process ends now. `power`: the machine does, with its applications. `interrupt`: not between two events but at
   * the nth look at the clock from now.
   */
  crash(options: { power: PowerCut | null; downMs: number; interrupt: number }): void {
    if (this.state !== "up" && this.state !== "starting") return;
    const { power, downMs, interrupt } = options;
    if (interrupt === 0) this.#die({ power, downMs, undo: power !== null, interrupted: false });
    else this.interruptAt(interrupt, () => this.#die({ power, downMs, undo: true, interrupted: true }));
  }

  /** `undo`: also the application's file is put back as it is now, because the process goes on for the rest of the event. */
  #die({ power, downMs, undo, interrupted }: Death): void {
    if (this.state !== "up" && this.state !== "starting") return;
    const image = imageOf(this.dataDir);
    const appDb = undo ? imageOfDatabase(this.file) : null;
    const cuts: string[] = [];
    if (power !== null) {
      if (power.appDb && appDb !== null)
        cuts.push(`live ${cutPower(appDb, this.file, this.#synced.mark, this.#random)}`);
      if (power.replica)
        cuts.push(`replica ${cutPower(image, `${this.dataDir}/replica.db`, null, this.#random)}`);
      // The history is committed with the replica, and its own file system writes may be lost, too.
      if (power.replica && existsSync(`${this.dataDir}/history.db-wal`))
        cuts.push(`history ${cutPower(image, `${this.dataDir}/history.db`, null, this.#historyRandom)}`);
      if (power.log) cuts.push(`log ${cutPower(image, `${this.dataDir}/log.db`, "all", this.#random)}`);
    }
    this.#world.log(`${this.name} dies${power === null ? "" : `, power is lost: ${cuts.join("; ")}`}`);
    this.state = "dying";
    this.generation++;
    this.#undoing = undo;
    if (undo) this.application.close();
    this.#interrupt = null;
    this.#onEvent = null;
    if (this.#transport !== null) this.#network.leave(this.#transport, power !== null);
    const burial = { image, appDb, downMs, power: power !== null };
    // In the middle of an event the process goes on until its end; else nothing of it may run any more.
    if (interrupted) this.#world.after(0, () => void this.#bury(burial));
    else void this.#bury(burial);
  }

  async #bury({ image, appDb, downMs, power }: Burial): Promise<void> {
    const member = this.#node?.replicator;
    try {
      member?.reader.end();
    } catch {
      // No drain had a transaction open.
    }
    member?.close();
    this.#resumeAll(); // work that waits for a timer must end
    if (appDb !== null) {
      restoreDatabase(appDb, this.file);
      this.fileEpoch++;
      this.application.open();
      if (!this.#late(appDb)) this.#undoing = false; // it writes again before Marmot does
      if (power) {
        this.#synced.take(); // only the durable transactions are left
        this.#hooks.onPowerLost(this);
      }
    }
    await this.#starting;
    await this.#node?.stop();
    restore(image, this.dataDir);
    if (appDb !== null && this.#late(appDb)) {
      this.application.close();
      restoreDatabase(appDb, this.file);
      this.fileEpoch++;
      this.application.open();
    }
    this.#node = null;
    this.#transport = null;
    this.#undoing = false;
    this.state = "down";
    this.#world.after(downMs, () => {
      if (!this.keepDown) this.start();
    });
  }

  /** The dying process was just building the file: it may have done so after the crash. */
  #late(appDb: Image): boolean {
    return appDb.size === 0;
  }

  /** Stops for good, as if told to. */
  async stop(): Promise<void> {
    this.keepDown = true;
    this.#resumeAll();
    await this.#starting;
    await this.#node?.stop();
    this.application.close();
    this.#node = null;
    this.state = "down";
    this.generation++;
  }

  // ------------------------------------------------------------------------------------------ SIGSTOP

  pause(): void {
    if (this.state === "up") this.#paused = true;
  }

  resume(): void {
    this.#resumeAll();
  }

  #resumeAll(): void {
    this.#paused = false;
    for (const work of this.#backlog.splice(0)) {
      if (this.#paused) this.#backlog.push(work);
      else if (this.state === "dying") afterEnd(work);
      else work();
    }
  }

  // ------------------------------------------------------------------------------------------ machine

  /** Runs something that comes from outside into the process, unless it is stopped for a while. */
  #enter(generation: number, work: () => void): void {
    this.touched = true;
    const lives = generation === this.generation;
    if (this.#paused && lives) this.#backlog.push(work);
    else if (lives && this.#failedIo === generation)
      this.#hooks.onFailure(this, new Error("it goes on after an I/O error"));
    else if (lives) work();
    else afterEnd(work);
  }

  /** At the nth look at the clock from now, in the middle of whatever the node is doing. */
  interruptAt(looks: number, run: () => void): void {
    this.#interrupt = { looks, run };
  }

  #look(generation: number): void {
    this.#world.now += LOOK_MS;
    const due = this.#interrupt;
    if (due === null || generation !== this.generation || this.#interrupting || --due.looks > 0) return;
    this.#interrupt = null;
    this.#interrupting = true;
    due.run();
    this.#interrupting = false;
  }

  #clock(): Clock {
    const { generation } = this;
    const { rate } = this.options;
    const world = this.#world;
    return {
      now: () => {
        this.#look(generation);
        return world.now * rate;
      },
      wallTime: () => Math.floor(WALL_START + world.now + this.wallJump),
      after: (ms, run) => world.after(ms / rate, () => this.#enter(generation, run)),
      soon: (run) => void world.after(0, () => this.#enter(generation, run)),
    };
  }

  #logger(): Logger {
    const line = (level: string, scope: string, message: string, fields?: object): void =>
      this.#world.log(
        `${this.name} ${level} ${scope} ${message}${fields === undefined ? "" : ` ${JSON.stringify(fields)}`}`,
      );
    const make = (scope: string): Logger => ({
      debug: (m, f) => line("debug", scope, m, f),
      info: (m, f) => line("info", scope, m, f),
      warn: (m, f) => line("warn", scope, m, f),
      error: (m, f) => line("error", scope, m, f),
      event: (kind, m, f) => line(kind, scope, m, f),
      child: (inner) => make(`${scope}/${inner}`),
    });
    return make("");
  }

  #host(generation: number): Host {
    return {
      transport: (_components, { onRefused }) => {
        const address = this.options.address ?? this.peerId;
        const transport = new SimTransport({ peerId: this.peerId, address }, this.#network, {
          onSend: (message) => {
            this.#look(generation);
            if (generation === this.generation) this.#hooks.onSend(this, message);
          },
          onHello: (bytes) => this.#hooks.onHello?.(this, bytes) ?? bytes,
          // A message to a process that has ended is dropped.
          run: (work) =>
            this.#enter(generation, () => {
              if (generation === this.generation) work();
            }),
          alive: () => generation === this.generation,
          onFetch: () => {
            if (existsSync(`${this.dataDir}/replica.db`)) this.adopted = true;
          },
          onTurnedAway: (by, reason) => onRefused?.(by, reason),
          onRefused: (from, error) => {
            if (generation === this.generation) this.#hooks.onRefused(this, from, error);
          },
        });
        this.#transport = transport;
        return transport;
      },
      appDbFile: () => {
        // Forming or joining a cluster has just installed the capture, with a synced commit.
        if (!this.#captured && generation === this.generation) {
          this.#synced.take();
          this.#captured = true;
        }
        return {
          sync: () => {
            this.#look(generation);
            this.#write();
            if (generation !== this.generation) return;
            if (this.#isFull("live")) throw new Error("ENOSPC: no space left on device, fdatasync");
            this.#doOrFail("live", () => this.#synced.take());
          },
          look: () => null,
          close: () => {},
        };
      },
      watchFolder: (_folder, onEvent) => {
        if (generation === this.generation) this.#onEvent = onEvent;
        return {
          close: () => {
            if (this.#onEvent === onEvent) this.#onEvent = null;
          },
        };
      },
      memory: () => 0,
      collectGarbage: () => {},
      nonce: () => `${this.options.address ?? this.name}-${generation}`,
    };
  }

  #doOrFail(what: "log" | "live", work: () => void): void {
    const fails = this.broken?.what === what ? this.broken : null;
    if (fails === null || fails.written) work();
    if (fails === null) return;
    this.broken = null;
    this.#failedIo = this.generation;
    throw new Error(IO_ERROR);
  }

  #isFull(what: "log" | "replica" | "live"): boolean {
    return this.full?.what === what && this.#world.now < this.full.until;
  }

  /** From now until `until` nothing more fits on the disk of these files. */
  fill(what: "log" | "replica" | "live", until: number): void {
    if (this.member === null) return;
    this.full = { what, until };
    if (what !== "replica") return;
    const { db } = this.member.replica;
    db.exec("PRAGMA max_page_count = 1"); // no less than there are
    this.#world.after(until - this.#world.now, () => this.empty());
  }

  /** Nothing more happens to it. */
  heal(): void {
    this.#interrupt = null;
    this.slow = { until: 0, ms: 0 };
    this.broken = null;
    this.resume();
    this.empty();
  }

  /** There is room again. */
  empty(): void {
    if (this.full === null) return;
    this.full = { ...this.full, until: 0 };
    this.process?.replica.db.exec("PRAGMA max_page_count = 1073741823");
  }

  /** Something is written to disk: on a slow one it takes its time. */
  #write(): void {
    if (this.#world.now < this.slow.until) this.#world.now += this.slow.ms;
  }

  /** The application committed: the file system may tell. */
  committed(): void {
    if (this.options.synchronous === "FULL") this.#synced.take();
    const { generation } = this;
    const onEvent = this.#onEvent;
    if (onEvent === null || this.#random.chance(this.options.eventLoss)) return;
    this.#world.after((this.#random.below(100) / 100) * EVENT_MS, () =>
      this.#enter(generation, () => {
        if (this.#onEvent === onEvent) onEvent(`${this.name}.db-wal`);
      }),
    );
  }

  /** Every durable write of the log goes through here once the member is there. */
  watchLog(member: Replicator, onWritten: () => void): void {
    const { log } = member;
    const write = log.write.bind(log);
    const { generation } = this;
    log.write = (writes) => {
      this.#look(generation);
      if (this.#isFull("log") && generation === this.generation)
        throw new Error("SQLITE_FULL: database or disk is full");
      if (generation === this.generation) this.#doOrFail("log", () => write(writes));
      else write(writes);
      this.#write();
      if (generation === this.generation) onWritten();
      this.#look(generation);
    };
  }

  /** A connection of an onlooker to the application's file. */
  observe(): DatabaseSync {
    return openDatabase(this.file, { readOnly: true, timeout: 1000 });
  }
}
