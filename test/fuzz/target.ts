/** A reader of bytes from outside, and the rule that holds for any bytes. */
import type { Random } from "../../src/base/random.ts";

export interface Target {
  readonly name: string;
  /** Valid inputs, from which hostile ones are made. */
  readonly samples: readonly Uint8Array[];
  /** Throws, or returns a promise that rejects, if the rule is broken. */
  feed(bytes: Uint8Array, random: Random): void | Promise<void>;
  /** The last call. */
  close?(): void;
}

/** Makes the target, and its samples from the seed. */
export type MakeTarget = (random: Random) => Target | Promise<Target>;

/** `work` returns, or throws one of these errors. */
export function mayThrow(errors: readonly (new (...args: never[]) => Error)[], work: () => void): void {
  try {
    work();
  } catch (error) {
    if (!errors.some((kind) => error instanceof kind)) throw error;
  }
}
