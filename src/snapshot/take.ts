/**
 * Copies the replica at one position while it is written to. Once the whole WAL is checkpointed, a read transaction is
 * opened: until it ends, SQLite cannot checkpoint newer pages into the file, so the file does not change during the copy.
 * The file is read through one descriptor that is never closed: closing it would drop SQLite's POSIX locks on the file.
 */
import { closeSync, fstatSync, openSync, readSync, rmSync, writeSync } from "node:fs";
import type { DatabaseSync } from "node:sqlite";
import { SnapshotError } from "./header.ts";
import { nextTurn } from "../base/clock.ts";
import { openDatabase } from "../sqlite/open.ts";

const CHUNK = 1 << 20;
/** Attempts to find the WAL empty, one in each turn of the event loop. */
const ATTEMPTS = 200;

export interface Copy {
  readonly path: string;
  readonly size: number;
  readonly positions: readonly { readonly index: number; readonly term: number }[];
}

export interface TakeComponents {
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

  /** Copies to `target`. The caller removes it. */
  async take(target: string): Promise<Copy> {
    this.#descriptor ??= openSync(this.#path, "r");
    const reader = openDatabase(this.#path, { readOnly: true });
    try {
      const positions = await this.#freeze(reader);
      const size = fstatSync(this.#descriptor).size;
      await this.#copy(target, size);
      return { path: target, size, positions };
    } catch (error) {
      rmSync(target, { force: true });
      throw error;
    } finally {
      reader.close();
    }
  }

  async #freeze(reader: DatabaseSync): Promise<Copy["positions"]> {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      if (this.#components.checkpoint()) {
        reader.exec("BEGIN");
        reader.prepare("SELECT count(*) FROM sqlite_schema").get();
        return this.#components.positions();
      }
      await nextTurn();
    }
    throw new SnapshotError("the replica is too busy to be copied now");
  }

  async #copy(target: string, size: number): Promise<void> {
    const out = openSync(target, "w", 0o600);
    try {
      const buffer = Buffer.allocUnsafe(CHUNK);
      for (let at = 0; at < size;) {
        const length = readSync(this.#descriptor!, buffer, 0, Math.min(CHUNK, size - at), at);
        if (length === 0) throw new SnapshotError("the replica's file became shorter");
        writeSync(out, buffer, 0, length, at);
        at += length;
        await nextTurn();
      }
    } finally {
      closeSync(out);
    }
  }
}
