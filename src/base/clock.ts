/** Time and timers as a seam, so that a simulator can own them. The pure rooms use neither. */

export interface Timer {
  cancel(): void;
}

export interface Clock {
  /** Monotonic, milliseconds. */
  now(): number;
  /** Wall clock, milliseconds since 1970. For display only: no rule may depend on it. */
  wallTime(): number;
  /** Calls once after `delayMs`. */
  after(delayMs: number, run: () => void): Timer;
  /** Calls on the next turn of the event loop, after pending I/O. */
  soon(run: () => void): void;
}

/** The machine's clock. Its timers keep the process alive. */
export const systemClock: Clock = {
  now: () => performance.now(),
  wallTime: () => Date.now(),
  after(delayMs, run) {
    const handle = setTimeout(run, delayMs);
    return { cancel: () => clearTimeout(handle) };
  },
  soon(run) {
    setImmediate(run);
  },
};

/** Resolves on the next turn of the event loop, after pending I/O: long work yields with it. */
export const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Resolves after `ms`. */
export const sleep = (clock: Clock, ms: number): Promise<void> =>
  new Promise((resolve) => void clock.after(ms, resolve));
