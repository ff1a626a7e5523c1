/**
 * The copy of the replica that this node sends: one for all receivers, on disk while one of them needs it. Entries after its
 * position stay in the logs, so that a receiver can go on with it.
 */
import { rmSync } from "node:fs";
import type { Clock, Timer } from "../../base/clock.ts";
import type { GrowingCopy } from "../../snapshot/growing-copy.ts";
import type { PeerId } from "../../shard/seams.ts";

/** A receiver whose transfer was interrupted may ask for the rest within this time. */
const KEEP_MS = 60_000;
/** Copies that are still made are given up earlier: a receiver that comes back begins again. */
const KEEP_GROWING_MS = 15_000;

export interface SharedCopyComponents {
  readonly clock: Clock;
  /** Begins a copy. */
  readonly begin: () => Promise<GrowingCopy>;
}

export class SharedCopy {
  readonly #components: SharedCopyComponents;
  #copy: Promise<GrowingCopy> | null = null;
  #open: GrowingCopy | null = null;
  #readers = 0;
  /** Receivers whose transfer was interrupted. */
  readonly #interrupted = new Set<PeerId>();
  #timer: Timer | null = null;

  constructor(components: SharedCopyComponents) {
    this.#components = components;
  }

  /** The position that receivers need the logs from; null: there are none. */
  get positions(): readonly { readonly index: number }[] | null {
    return this.#open?.head.positions ?? null;
  }

  /**
   * The copy for a receiver, a new one if the present one is of no use to it; `release` must follow. null: another receiver
   * still needs that one, and there is room for one.
   */
  async take(isUsable: (copy: GrowingCopy) => boolean): Promise<GrowingCopy | null> {
    // A copy that is about to begin is looked at when it has.
    const present = this.#copy === null ? null : await this.#copy;
    if (present !== null && !isUsable(present)) {
      if (this.#readers > 0) return null;
      this.#drop();
    }
    this.#timer?.cancel();
    this.#readers++;
    try {
      this.#copy ??= this.#begin();
      return await this.#copy;
    } catch (error) {
      this.#readers--;
      throw error;
    }
  }

  async #begin(): Promise<GrowingCopy> {
    try {
      const copy = await this.#components.begin();
      this.#open = copy;
      return copy;
    } catch (error) {
      this.#copy = null;
      throw error;
    }
  }

  release(peer: PeerId, isDone: boolean): void {
    this.#readers--;
    if (isDone) this.#interrupted.delete(peer);
    else this.#interrupted.add(peer);
    this.#tidy();
  }

  /** The receiver has its replica, from here or from another node. */
  served(peer: PeerId): void {
    if (this.#interrupted.delete(peer)) this.#tidy();
  }

  #tidy(): void {
    this.#timer?.cancel();
    if (this.#readers > 0 || this.#open === null) return;
    if (this.#interrupted.size === 0) return this.#drop();
    const ms = this.#open.isComplete ? KEEP_MS : KEEP_GROWING_MS;
    this.#timer = this.#components.clock.after(ms, () => {
      if (this.#readers === 0) this.#drop();
    });
  }

  #drop(): void {
    const copy = this.#open;
    this.#copy = this.#open = null;
    this.#interrupted.clear();
    if (copy === null) return;
    copy.cancel();
    rmSync(copy.head.path, { force: true });
  }

  close(): void {
    this.#timer?.cancel();
    this.#drop();
  }
}
