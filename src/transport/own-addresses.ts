/** The addresses of this node. libp2p makes them from those of the machine's interfaces at each call, so they are kept for a while. */
import type { Clock } from "../base/clock.ts";
import { splitAddress } from "./address-book.ts";
import { announced } from "./addresses/loopback.ts";

const KEEP_MS = 3000;

export class OwnAddresses {
  readonly #read: () => readonly { toString(): string }[];
  readonly #clock: Pick<Clock, "now">;
  #all: readonly string[] = [];
  #readAt = Number.NEGATIVE_INFINITY;

  constructor(read: () => readonly { toString(): string }[], clock: Pick<Clock, "now">) {
    this.#read = read;
    this.#clock = clock;
  }

  /** Empty until the node listens. */
  get all(): readonly string[] {
    const now = this.#clock.now();
    if (this.#all.length === 0 || now - this.#readAt >= KEEP_MS) {
      this.#all = this.#read().map(String);
      this.#readAt = now;
    }
    return this.#all;
  }

  /** Those to tell peers, without this node's id. */
  get announced(): string[] {
    return announced(this.all.map((a) => splitAddress(a).address));
  }

  /** The node listens, or does not listen any more. */
  forget(): void {
    this.#all = [];
  }
}
