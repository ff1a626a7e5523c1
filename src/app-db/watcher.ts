/**
 * Wakes the loop when the application may have committed. File-system events arrive at the write into the WAL, before the
 * commit is visible (under `synchronous=FULL` one fsync before). The watcher therefore checks again for some milliseconds
 * after each event, and every 250 ms in case an event was missed; every second where events have come for all commits so far.
 */
import { type FSWatcher, watch } from "node:fs";
import { basename, dirname } from "node:path";
import type { Clock, Timer } from "../base/clock.ts";

/** Checks without a pause for this long after an event. */
const SPIN_MS = 0.25;
/** Then after these pauses. */
const PAUSES_MS = [1, 1, 1, 1, 4, 8, 16, 32, 64] as const;
/** Index of the first pause after an event of our own commit. */
const OWN_PAUSE = 3;
const POLL_MS = 250;
const PROVEN_POLL_MS = 1000;
/** So many commits that events told, own ones too, prove that they come. */
const PROOF = 3;
/** An event this soon after our own commit is that commit's. */
const OWN_MS = 0.5;

/** Calls back with a file's name in the folder, or null when the platform does not say which. */
export type WatchFolder = (folder: string, onEvent: (name: string | null) => void) => { close(): void };

export interface WatcherComponents {
  readonly clock: Clock;
  /** A commit by another connection became visible since the last call (`PRAGMA data_version`). */
  readonly moved: () => boolean;
  readonly wake: () => void;
  /** null: the file system's own events. */
  readonly watchFolder?: WatchFolder | null;
}

const watchWithSystem = (folder: string, onEvent: (name: string | null) => void): FSWatcher =>
  watch(folder, { persistent: false }, (_type, name) => onEvent(name));

export class Watcher {
  readonly #components: WatcherComponents;
  readonly #folder: string;
  readonly #names: ReadonlySet<string>;
  #watcher: { close(): void } | null = null;
  #poll: Timer | null = null;
  #next: Timer | null = null;
  #eventAt = 0;
  #ownAt = Number.NEGATIVE_INFINITY;
  #pause = 0;
  #spinning = false;
  #stopped = false;
  /** Commits seen after an event; infinitely negative once polling found one without an event. */
  #told = 0;
  #pollsSlowly = false;
  /** The reason for polling alone, or "". */
  pollingBecause = "";

  constructor(file: string, components: WatcherComponents) {
    this.#components = components;
    this.#folder = dirname(file);
    this.#names = new Set([basename(file), `${basename(file)}-wal`]);
  }

  start(): void {
    try {
      const watchFolder = this.#components.watchFolder ?? watchWithSystem;
      this.#watcher = watchFolder(this.#folder, (name) => {
        if (name === null || this.#names.has(name)) this.#onEvent();
      });
    } catch (error) {
      this.pollingBecause = error instanceof Error ? error.message : String(error);
    }
    this.#pollLater();
  }

  stop(): void {
    this.#stopped = true;
    this.#watcher?.close();
    this.#poll?.cancel();
    this.#next?.cancel();
  }

  /** Marmot itself has just committed. */
  ownCommit(): void {
    this.#ownAt = this.#components.clock.now();
  }

  #pollLater(): void {
    if (this.#stopped) return;
    const { clock } = this.#components;
    this.#pollsSlowly = this.#told >= PROOF && clock.now() - this.#eventAt > PROVEN_POLL_MS;
    const pause = this.#watcher === null ? 5 : this.#pollsSlowly ? PROVEN_POLL_MS : POLL_MS;
    this.#poll = clock.after(pause, () => {
      const isMissed = clock.now() - this.#eventAt > PROVEN_POLL_MS;
      if (this.#check() && isMissed) this.#told = Number.NEGATIVE_INFINITY;
      this.#pollLater();
    });
  }

  #check(): boolean {
    if (this.#stopped || !this.#components.moved()) return false;
    this.#components.wake();
    return true;
  }

  #onEvent(): void {
    const now = this.#components.clock.now();
    this.#eventAt = now;
    this.#pause = 0;
    // The commit may become visible only after a slow sync.
    if (this.#pollsSlowly) {
      this.#poll?.cancel();
      this.#pollLater();
    }
    // A check that waits for its pause comes earlier; a spinning one goes on from the new event.
    if (this.#spinning) return;
    this.#next?.cancel();
    const own = now - this.#ownAt < OWN_MS;
    if (own) {
      this.#pause = OWN_PAUSE; // most likely no news, but the application may have committed at the same time
      this.#told++;
    }
    this.#again(own);
  }

  /** `own`: an event of our own commit does not make the watcher spin. */
  #again(own: boolean): void {
    this.#spinning = false;
    if (this.#stopped) return;
    if (this.#check()) this.#told++;
    const { clock } = this.#components;
    if (!own && clock.now() - this.#eventAt < SPIN_MS) {
      this.#spinning = true;
      clock.soon(() => this.#again(false));
      return;
    }
    const pause = PAUSES_MS[this.#pause++];
    if (pause === undefined) return;
    this.#next = clock.after(pause, () => this.#again(false));
  }
}
