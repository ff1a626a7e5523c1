/** The archive of a running node: shipping, and a restore drill every day in a process beside it. */
import type { Keep } from "../../../archive/prune.ts";
import { openSeal } from "../../../archive/seal.ts";
import { openStore } from "../../../archive/archive.ts";
import { Shipper, type ShipperOptions } from "../../../archive/shipping/shipper.ts";
import type { ArchiveStore } from "../../../archive/stores/store.ts";
import type { Clock } from "../../../base/clock.ts";
import type { Logger } from "../../../base/logger.ts";
import type { Random } from "../../../base/random.ts";
import type { ArchiveStatus } from "../../../operations/archive-api.ts";
import { shippedNode } from "../../../operations/archive/shipped-node.ts";
import type { Replicator } from "../../../replication/replicator.ts";
import { Drill } from "./drill.ts";

export interface ArchiverComponents {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly replicator: () => Replicator | null;
  /** The command that starts this program, for the drill; null: there is none. */
  readonly command: readonly string[] | null;
  /** null: opened by its name. */
  readonly store: ArchiveStore | null;
  /** Beginning of the paths of copies on their way. */
  readonly scratch: string;
}

export interface ArchiverOptions {
  readonly to: string;
  readonly intervalMs: number;
  readonly keep: Keep;
  readonly keyFile: string | null;
  /** Absent: it makes the archive if there is none. */
  readonly mayCreate?: boolean;
  readonly limits?: ShipperOptions["limits"];
}

export class Archiver {
  readonly #options: ArchiverOptions;
  readonly #shipper: Shipper;
  readonly #drill: Drill | null;

  /** Throws `UserError` for a place or a key that cannot be one. */
  constructor(components: ArchiverComponents, options: ArchiverOptions) {
    const { clock, random, logger, replicator, command, scratch, store } = components;
    const { to, intervalMs, keep, keyFile, mayCreate = true, limits } = options;
    this.#options = options;
    this.#shipper = new Shipper(
      {
        ...{ clock, random, logger, scratch, store: store ?? openStore(to) },
        node: () => {
          const now = replicator();
          const isWhole = now?.replica.replica.completion.tables.size === 0;
          return now === null || !isWhole ? null : shippedNode(now, clock);
        },
        seal: () => openSeal(keyFile),
      },
      { intervalMs, keep, mayCreate, ...(limits === undefined ? {} : { limits }) },
    );
    this.#drill =
      command === null
        ? null
        : new Drill({ clock, logger, command, ships: () => this.#shipper.status }, { to, keyFile });
  }

  get status(): ArchiveStatus {
    const { intervalMs, keep, keyFile } = this.#options;
    return {
      ...this.#shipper.status,
      ...{ intervalMs, keepMs: keep.ms, keepSnapshots: keep.snapshots, keyFile },
      drill: this.#drill?.status ?? null,
    };
  }

  start(): void {
    this.#shipper.start();
    this.#drill?.start();
  }

  stop(): void {
    void this.#shipper.stop();
    this.#drill?.stop();
  }
}
