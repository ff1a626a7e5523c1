/**
 * Copies the replica at one position while it is written to. Once the whole WAL is checkpointed, a read transaction is
 * opened: until it ends, SQLite cannot checkpoint newer pages into the file, so the file does not change during the copy.
 * The file is read through one descriptor that is never closed: closing it would drop SQLite's POSIX locks on the file.
 */
import { closeSync, fstatSync, openSync, readSync, rmSync, writeSync } from "node:fs";
import type { DatabaseSync } from "node:sqlite";
import { type Clock, nextTurn, sleep } from "../base/clock.ts";
import { openDatabase } from "../sqlite/open.ts";
import { GrowingCopy } from "./growing-copy.ts";
import { SnapshotError } from "./header.ts";

const CHUNK = 1 << 20;
/** Copied before the first turn of the event loop: a small replica is copied at once. */
const FIRST_CHUNKS = 4;
/** Attempts to find the WAL empty: one in each turn of the event loop, then one in each pause. */
const ATTEMPTS = 200;
const PAUSE_MS = 50;
const MAX_ATTEMPTS = ATTEMPTS + 400;

export interface TakeComponents {
  readonly clock: Clock;
  /** True: the whole WAL is in the file, and no write is open in this turn. */
  readonly checkpoint: () => boolean;
  /** The replica's positions, read in the same turn. */
  readonly positions: () => { index: number; term: number }[];
}

export class SnapshotTaker {
  readonly #path: string;
  readonly #components: TakeComponents;
  #descriptor: number | null = null;

  /** `path`: the replica's file. */
  constructor(path: string, components: TakeComponents) {
    this.#path = path;
    this.#components = components;
  }

  /** Begins a copy, which grows in the background. The caller removes the file. */
  async begin(id: string, target: string): Promise<GrowingCopy> {
    this.#descriptor ??= openSync(this.#path, "r");
    const reader = openDatabase(this.#path, { readOnly: true });
    let out: number | null = null;
    try {
      const positions = await this.#freeze(reader);
      const { size } = fstatSync(this.#descriptor);
      out = openSync(target, "w", 0o600);
      const copy = new GrowingCopy({ id, path: target, size, positions });
      const buffer = Buffer.allocUnsafe(CHUNK);
      for (let i = 0; i < FIRST_CHUNKS && !copy.isComplete; i++) this.#copyChunk(copy, out, buffer);
      void this.#copyRest(copy, reader, out, buffer);
      return copy;
    } catch (error) {
      if (out !== null) closeSync(out);
      reader.close();
      rmSync(target, { force: true });
      throw error;
    }
  }

  async #freeze(reader: DatabaseSync): Promise<{ index: number; term: number }[]> {
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
      if (this.#components.checkpoint()) {
        reader.exec("BEGIN");
        reader.prepare("SELECT count(*) FROM sqlite_schema").get();
        return this.#components.positions();
      }
      await (attempt < ATTEMPTS ? nextTurn() : sleep(this.#components.clock, PAUSE_MS));
    }
    throw new SnapshotError("the replica is too busy to be copied now");
  }

  #copyChunk(copy: GrowingCopy, out: number, buffer: Buffer): void {
    const left = copy.head.size - copy.length;
    const length = readSync(this.#descriptor!, buffer, 0, Math.min(CHUNK, left), copy.length);
    if (length !== Math.min(CHUNK, left)) throw new SnapshotError("the replica's file became shorter");
    writeSync(out, buffer, 0, length, copy.length);
    copy.add(buffer.subarray(0, length));
  }

  async #copyRest(copy: GrowingCopy, reader: DatabaseSync, out: number, buffer: Buffer): Promise<void> {
    try {
      while (!copy.isComplete && !copy.isCancelled) {
        await nextTurn();
        if (!copy.isCancelled) this.#copyChunk(copy, out, buffer);
      }
    } catch (error) {
      copy.fail(error instanceof Error ? error : new Error(String(error)));
    } finally {
      closeSync(out);
      reader.close();
    }
  }
}
