/** A pause that can be ended early. */
import type { Clock, Timer } from "../../base/clock.ts";

export class Rest {
  readonly #clock: Clock;
  #timer: Timer | null = null;
  #wake: () => void = () => {};

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  take(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
      this.#timer = this.#clock.after(ms, resolve);
    });
  }

  end(): void {
    this.#timer?.cancel();
    this.#wake();
  }
}
