/**
 * Ships the ordered entries to an archive, and copies of the replica from time to time. The leader of shard 0 ships; another node takes over
 * when the archive falls behind although that node is ahead. Links have numbers, and a number is given once, so two nodes that ship at the
 * same time write no link twice. Replication never waits for it.
 */
import type { Clock } from "../../base/clock.ts";
import { errorMessage } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import type { Random } from "../../base/random.ts";
import { hasReached, showPosition } from "../../base/text/position-token.ts";
import { Archive, type Chained } from "../archive.ts";
import { Claims } from "./claims.ts";
import { Continuity, stateOf } from "./continuity.ts";
import { Copies, type StoredCopy } from "./copies.ts";
import { entryBytes, type Segment, type SnapshotLink } from "../chain-link.ts";
import { Marks } from "./marks.ts";
import { MERGE_MS, Merges } from "./merges.ts";
import { type Keep, Pruning } from "../prune.ts";
import type { Seal } from "../seal.ts";
import { Rest } from "./rest.ts";
import { makeSegment, makeSnapshotLink } from "./segments.ts";
import type { ShippedNode, ShipperStatus } from "./shipped.ts";
import { ShippingReport } from "./shipping-report.ts";
import type { ArchiveStore } from "../stores/store.ts";

const LOOK_MS = 250;
/** Between two looks at the archive by a node that does not ship. */
const STANDBY_MS = 5000;
/** After so long without a new link a node that is ahead ships itself. */
const TAKE_OVER_MS = 20_000;
const LONGEST_PAUSE_MS = 30_000;
/** Of the interval of merges, the share for which a known end is fresh. */
const FRESH_SHARE = 6;

export interface ShipperComponents {
  /** null: the node joins, or replaces its replica. The same object while its files are open. */
  readonly node: () => ShippedNode | null;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly store: ArchiveStore;
  readonly seal: () => Promise<Seal>;
  /** Path for a copy on its way. */
  readonly scratch: string;
}

export interface ShipperOptions {
  readonly intervalMs: number;
  readonly keep: Keep;
  /** Absent: it makes the archive if there is none. */
  readonly mayCreate?: boolean;
  /** Snapshots, merges and gaps, sooner: for tests. */
  readonly limits?: { readonly copyLinks?: number; readonly patienceMs?: number; readonly mergeMs?: number };
}

export class Shipper {
  readonly #components: ShipperComponents;
  readonly #options: ShipperOptions;
  #stopped = false;
  readonly #rest: Rest;
  #node: ShippedNode | null = null;
  #marks = new Marks([]);
  #archive: Archive | null = null;
  #tail: Chained | null = null;
  /** The end of the archive, also while it does not answer. */
  #known: Chained | null = null;
  /** When it was known to be the end, by both clocks: one of them goes on while the machine sleeps. */
  #tailAt = 0;
  #tailWall = 0;
  #ships = false;
  /** The archive has no snapshot, although it may have links. */
  #isBare = false;
  #behindSince: number | null = null;
  readonly #continuity: Continuity;
  readonly #copies: Copies;
  #running = Promise.resolve();
  #copying: Promise<void> | null = null;
  #copy: StoredCopy | null = null;
  readonly #claims: Claims;
  readonly #pruning: Pruning;
  readonly #merges: Merges;
  readonly #report: ShippingReport;

  constructor(components: ShipperComponents, options: ShipperOptions) {
    this.#components = components;
    this.#options = options;
    this.#rest = new Rest(components.clock);
    this.#report = new ShippingReport(components.logger, components.store.shown);
    this.#pruning = new Pruning(components, options.keep);
    this.#continuity = new Continuity(options.limits?.patienceMs);
    this.#claims = new Claims(components.clock);
    this.#merges = new Merges(components, this.#mergeMs);
    this.#copies = new Copies(components, options.limits?.copyLinks);
  }

  get status(): ShipperStatus {
    const { clock } = this.#components;
    const known = this.#known?.link ?? null;
    const positions = this.#node?.positions() ?? [];
    const behind =
      known === null ? 0 : positions.reduce((sum, at, i) => sum + Math.max(0, at - known.to[i]!), 0);
    const behindMs = this.#behindSince === null || behind === 0 ? 0 : clock.now() - this.#behindSince;
    return {
      ...this.#report.facts,
      position: known === null ? null : showPosition(known.to),
      ...{ behindEntries: behind, behindMs: Math.round(behindMs) },
      ...{ number: known?.number ?? null, node: known?.node ?? null },
    };
  }

  start(): void {
    this.#running = this.#run();
  }

  /** Resolves when nothing of it goes on any more. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#rest.end();
    await Promise.all([this.#running, this.#copying, this.#merges.stop()]);
  }

  async #run(): Promise<void> {
    const { intervalMs } = this.#options;
    let pause = intervalMs;
    while (!this.#stopped) {
      const node = this.#attach();
      if (node === null) {
        this.#report.state = "waiting";
        await this.#rest.take(LOOK_MS);
        continue;
      }
      try {
        await this.#turn(node);
        this.#report.healthy();
        pause = intervalMs;
      } catch (error) {
        if (this.#stopped) return;
        // Its files were closed.
        if (this.#components.node() !== node) continue;
        this.#failed(error);
        pause = Math.min(LONGEST_PAUSE_MS, Math.max(1000, pause * 2));
      }
      if (!this.#stopped) await this.#rest.take(pause);
    }
  }

  /** The node, whose commits are noted from the first look on. */
  #attach(): ShippedNode | null {
    const node = this.#components.node();
    if (node === this.#node) return node;
    this.#node = node;
    this.#archive = this.#tail = null;
    this.#ships = false;
    if (node === null) return null;
    const { clock } = this.#components;
    const marks = new Marks(node.positions());
    this.#marks = marks;
    node.onCommit(() => {
      marks.note(clock.wallTime(), node.positions());
      this.#behindSince ??= clock.now();
    });
    return node;
  }

  #failed(error: unknown): void {
    this.#archive = this.#tail = null;
    this.#ships = false;
    this.#report.failed(error);
  }

  async #turn(node: ShippedNode): Promise<void> {
    const archive = (this.#archive ??= await this.#open(node));
    if (archive === null) return;
    const { clock } = this.#components;
    const leads = node.leads();
    if (!this.#ships && (leads || this.#tail === null || clock.now() - this.#tailAt >= STANDBY_MS))
      await this.#look(archive, node);
    const isLate = this.#tail !== null && clock.now() - this.#lastMoved >= TAKE_OVER_MS;
    if (!leads && !(isLate && this.#isAhead(node))) {
      this.#ships = false;
      this.#report.state = "standby";
      return;
    }
    if (!this.#ships) this.#components.logger.info("this node ships to the archive", { to: archive.shown });
    this.#ships = true;
    this.#report.state = "shipping";
    await this.#ship(node, archive, leads);
  }

  /** null: there is none, and another node is to make it. */
  async #open(node: ShippedNode): Promise<Archive | null> {
    const { store, seal, clock, logger } = this.#components;
    const key = await seal();
    let archive = await Archive.open(store, key);
    if (archive === null && node.leads() && this.#options.mayCreate !== false) {
      const now = clock.wallTime();
      archive = await Archive.create(store, key, { cluster: node.cluster, shards: node.shards, now });
      logger.event("archive", `a new archive at ${store.shown}`, { to: store.shown });
    }
    archive?.requireCluster(node.cluster);
    if (archive === null) this.#report.state = "standby";
    return archive;
  }

  #lastMoved = 0;

  async #look(archive: Archive, node: ShippedNode): Promise<void> {
    const { clock } = this.#components;
    const before = this.#tail ?? this.#known;
    if (this.#tail === null || this.#isBare) this.#isBare = (await archive.snapshots()).length === 0;
    const tail = await archive.tail(this.#tail, this.#isFresh());
    this.#tailAt = clock.now();
    this.#tailWall = clock.wallTime();
    if (tail?.hash !== before?.hash || before === null) this.#lastMoved = clock.now();
    if (tail !== null) this.#moved(node, tail);
  }

  get #mergeMs(): number {
    return this.#options.limits?.mergeMs ?? MERGE_MS;
  }

  /** Links after the end that this node knows are too new to be merged. */
  #isFresh(): boolean {
    const { clock } = this.#components;
    const age = Math.max(clock.now() - this.#tailAt, clock.wallTime() - this.#tailWall);
    return age < this.#mergeMs / FRESH_SHARE;
  }

  #moved(node: ShippedNode, tail: Chained): void {
    this.#tail = this.#known = tail;
    this.#marks.forget(tail.link.to);
    node.hold(tail.link.to);
    if (hasReached(tail.link.to, node.positions())) this.#behindSince = null;
    else this.#behindSince = this.#components.clock.now();
  }

  #isAhead(node: ShippedNode): boolean {
    return this.#tail !== null && !hasReached(this.#tail.link.to, node.positions());
  }

  async #ship(node: ShippedNode, archive: Archive, leads: boolean): Promise<void> {
    const { clock } = this.#components;
    while (!this.#stopped && this.#components.node() === node) {
      const state = await stateOf(node);
      const tail = this.#tail;
      const broken =
        tail === null || this.#isBare ? "first" : this.#continuity.of(node, tail.link, leads, clock.now());
      if (broken === "wait") {
        // Another node may ship the entries that this one lacks.
        this.#ships = false;
        return;
      }
      if (broken !== "none") {
        if (!leads) return;
        if (broken !== "first") this.#report.gap(tail!.link, broken);
        if (!(await this.#beginAgain(node, archive, tail !== null))) return;
        continue;
      }
      const copy = this.#copy;
      if (copy !== null) {
        this.#copy = null;
        if (await this.#addSnapshot(node, archive, copy, null)) continue;
        return;
      }
      const end = this.#tail!;
      if (hasReached(end.link.to, state.positions)) {
        if (leads) await this.#claims.at(archive, end, node.name);
        break;
      }
      if (!hasReached(state.positions, end.link.to)) return;
      const now = clock.wallTime();
      const segment = makeSegment({ node, tail: end, state, marks: this.#marks, now });
      if (!(await this.#add(node, archive, segment))) return;
      this.#copies.shipped(entryBytes(segment));
    }
    this.#copyWhenDue(node, archive);
    await this.#pruning.look(archive);
    this.#merges.look(archive);
  }

  /** A snapshot with which the chain begins, or goes on after a gap. */
  async #beginAgain(node: ShippedNode, archive: Archive, gap: boolean): Promise<boolean> {
    const copy = await this.#copies.store(node, archive, (this.#tail?.link.number ?? 0) + 1, (at) =>
      node.hold(at),
    );
    return this.#addSnapshot(node, archive, copy, gap);
  }

  /** False: another node has written this number. */
  async #add(node: ShippedNode, archive: Archive, link: Segment | SnapshotLink): Promise<boolean> {
    const added = await archive.add(link);
    if (added === null) {
      this.#ships = false;
      this.#tail = await archive.tail(this.#tail, this.#isFresh());
      if (this.#tail !== null) this.#moved(node, this.#tail);
      return false;
    }
    this.#report.shipped(added);
    this.#lastMoved = this.#components.clock.now();
    this.#claims.changed();
    this.#moved(node, added);
    return true;
  }

  // ------------------------------------------------------------------------------------------ copies

  /** `gap`: null: the chain goes on as if it were not there. */
  async #addSnapshot(
    node: ShippedNode,
    archive: Archive,
    copy: StoredCopy,
    gap: boolean | null,
  ): Promise<boolean> {
    const now = this.#components.clock.wallTime();
    const link = makeSnapshotLink({ node, tail: this.#tail, copy, gap, now });
    await archive.addMarker(link);
    if (!(await this.#add(node, archive, link))) {
      await archive.removeMarker(link);
      return false;
    }
    this.#isBare = false;
    this.#report.snapshot(link);
    this.#copies.made(link.bytes);
    return true;
  }

  /** In the background: segments are shipped at the same time. */
  #copyWhenDue(node: ShippedNode, archive: Archive): void {
    if (this.#tail === null || this.#copying !== null || !this.#copies.isDue()) return;
    const { logger } = this.#components;
    this.#copying = this.#copies
      .store(node, archive, this.#tail.link.number + 1)
      .then(
        (copy) => {
          if (this.#components.node() === node) this.#copy = copy;
        },
        (error: unknown) => {
          if (!this.#stopped)
            logger.warn("a snapshot for the archive failed", { error: errorMessage(error) });
          this.#copies.postpone();
        },
      )
      .finally(() => {
        this.#copying = null;
      });
  }
}
