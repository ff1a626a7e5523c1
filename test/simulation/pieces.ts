/**
 * `setImmediate` under simulated time. Work that the product splits into slices continues by one slice at each step
 * of the world, in the order of the requests. A turn of the real event loop at every step would cost more than the
 * step.
 */
import { drainMicrotasks } from "bun:jsc";

type Run = () => void;

const real = globalThis.setImmediate;

export class Pieces {
  readonly #before = globalThis.setImmediate;
  #waiting: Run[] = [];

  /** From now on, until `release`; one within another, as a simulation in a simulation, or one after another. */
  constructor() {
    const later = (run: (...values: unknown[]) => void, ...values: unknown[]): void => {
      this.#waiting.push(() => run(...values));
    };
    globalThis.setImmediate = later as unknown as typeof setImmediate;
  }

  /** Runs what waits in microtasks, then a piece of everything that goes on in pieces. */
  goOn(): void {
    drainMicrotasks();
    const due = this.#waiting;
    if (due.length === 0) return;
    this.#waiting = [];
    for (const run of due) {
      run();
      drainMicrotasks();
    }
  }

  /** A turn of the real event loop. */
  turn(): Promise<void> {
    return new Promise((resolve) => real(resolve));
  }

  /** Restores the real function; slices that still wait are run by it. */
  release(): void {
    globalThis.setImmediate = this.#before;
    for (const run of this.#waiting) setImmediate(run);
    this.#waiting = [];
  }
}
