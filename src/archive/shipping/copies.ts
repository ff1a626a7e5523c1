/** Copies of the replica for an archive: when one is due, and its way to the store. */
import { rmSync } from "node:fs";
import type { Clock } from "../../base/clock.ts";
import type { Random } from "../../base/random.ts";
import type { Archive } from "../archive.ts";
import { type CopyFacts, encodeCopy } from "../copy.ts";
import type { CopiedState, ShippedNode } from "./shipped.ts";

/** A new copy after so many bytes of entries (or twice the last copy), so many links, so long. */
const COPY_BYTES = 64 << 20;
const COPY_LINKS = 5000;
const COPY_MS = 24 * 3_600_000;

/** A copy that is in the store, and has no link yet. */
export interface StoredCopy extends CopiedState, CopyFacts {
  readonly data: string;
  /** The first link with entries after it. */
  readonly follow: number;
}

export interface CopiesComponents {
  readonly clock: Clock;
  readonly random: Random;
  /** Beginning of the paths of copies on their way. */
  readonly scratch: string;
}

export class Copies {
  readonly #components: CopiesComponents;
  readonly #mostLinks: number;
  #madeAt: number | null = null;
  #size = 0;
  #bytes = 0;
  #links = 0;

  constructor(components: CopiesComponents, mostLinks = COPY_LINKS) {
    this.#components = components;
    this.#mostLinks = mostLinks;
  }

  isDue(): boolean {
    const now = this.#components.clock.now();
    this.#madeAt ??= now;
    return (
      this.#links >= this.#mostLinks ||
      this.#bytes >= Math.max(COPY_BYTES, 2 * this.#size) ||
      (this.#links > 0 && now - this.#madeAt >= COPY_MS)
    );
  }

  /** A segment was shipped, with so many bytes of entries. */
  shipped(bytes: number): void {
    this.#bytes += bytes;
    this.#links++;
  }

  made(bytes: number): void {
    this.#size = bytes;
    this.postpone();
  }

  postpone(): void {
    this.#madeAt = this.#components.clock.now();
    this.#bytes = this.#links = 0;
  }

  /** Makes a copy and sends it. */
  async store(
    node: ShippedNode,
    archive: Archive,
    follow: number,
    onMade: (positions: readonly number[]) => void = () => {},
  ): Promise<StoredCopy> {
    const { scratch, random, clock } = this.#components;
    const id = random.below(2 ** 31).toString(16);
    const file = `${scratch}-${id}.db`;
    try {
      const copy = await node.copy(file);
      onMade(copy.positions);
      const time = new Date(clock.wallTime()).toISOString().replace(/[-:.]/g, "");
      const data = `copies/${time}-${id}`;
      const facts: CopyFacts = { bytes: 0, sha256: "" };
      await archive.store.upload(data, () => encodeCopy(file, data, archive.seal, facts));
      return { ...copy, ...facts, data, follow };
    } finally {
      rmSync(file, { force: true });
    }
  }
}
