/** A copy of the replica that can be read while it is made: several transfers share it. */
import { SnapshotError } from "./header.ts";

/** The hash of a copy is computed in blocks of this size; a transfer continues at a multiple of it. */
export const BLOCK = 64 << 10;

export const nextHash = (hash: bigint, block: Uint8Array): bigint => Bun.hash.xxHash64(block, hash);

export interface CopyHead {
  /** Identifies the copy: a later transfer may ask for the rest of it. */
  readonly id: string;
  readonly path: string;
  readonly size: number;
  readonly positions: readonly { readonly index: number; readonly term: number }[];
}

export class GrowingCopy {
  readonly head: CopyHead;
  /** Bytes that can be read. */
  length = 0;
  /** Of these bytes, block by block. */
  hash = 0n;
  #failure: Error | null = null;
  #wake: (() => void)[] = [];
  #cancelled = false;

  constructor(head: CopyHead) {
    this.head = head;
  }

  get isComplete(): boolean {
    return this.length === this.head.size;
  }

  get isCancelled(): boolean {
    return this.#cancelled;
  }

  /** The copy is not needed any more: it is not completed. */
  cancel(): void {
    this.#cancelled = true;
    if (!this.isComplete) this.fail(new SnapshotError("the copy was given up"));
  }

  add(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; at += BLOCK)
      this.hash = nextHash(this.hash, bytes.subarray(at, at + BLOCK));
    this.length += bytes.length;
    this.#notify();
  }

  fail(error: Error): void {
    this.#failure ??= error;
    this.#notify();
  }

  #notify(): void {
    for (const wake of this.#wake.splice(0)) wake();
  }

  /** Resolves when there are more bytes than `length`, or when `pause` resolves. Throws when there will be none. */
  async more(length: number, pause: () => Promise<void>): Promise<void> {
    if (this.#failure !== null) throw this.#failure;
    if (this.length > length) return;
    const grown = new Promise<void>((resolve) => this.#wake.push(resolve));
    await Promise.race([grown, pause()]);
    // A method of its own would be called for the same: the failure may have come during the wait.
    const failure = this.#failure as Error | null;
    if (failure !== null) throw failure;
  }
}
