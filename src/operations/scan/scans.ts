/** The tables of `--scan`, one slice after the other, with pauses that keep the cost below a part of one core. */
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import type { Clock, Timer } from "../../base/clock.ts";
import { errorMessage } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { foldName } from "../../base/names.ts";
import { decodeImage, encodeImage } from "../../change/codec.ts";
import type { TableShape } from "../../change/shape.ts";
import type { Replicator } from "../../replication/replicator.ts";
import { BEGINNING, type ScanPlace, TableScan } from "./table-scan.ts";

/** Milliseconds of pause for each millisecond of work: 2 % of a core. */
const PAUSES = 49;
const SHORTEST_PAUSE_MS = 20;
/** When nothing can be compared just now. */
const LOOK_AGAIN_MS = 250;
/** How often the places are stored, so that a pass goes on after a restart. */
const STORE_MS = 10_000;

/** Table in lower case ⇒ milliseconds between the beginnings of two passes. */
export type ScanIntervals = Readonly<Record<string, number>>;

export interface ScansComponents {
  /** null: the node is joining, or replaces its replica. */
  readonly replicator: () => Replicator | null;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Where places are kept between two starts. */
  readonly file: string;
}

interface Pass {
  readonly name: string;
  readonly intervalMs: number;
  place: ScanPlace;
  /** The table as it was when the pass began; null: at the beginning. */
  shape: TableShape | null;
  /** When the pass began. */
  begunAt: number;
  dueAt: number;
}

export class Scans {
  readonly #components: ScansComponents;
  readonly #passes: readonly Pass[];
  readonly #unknown = new Set<string>();
  #timer: Timer | null = null;
  #storedAt = 0;
  #started = false;
  #stopped = false;
  /** Rows published since the start. */
  published = 0;

  constructor(components: ScansComponents, intervals: ScanIntervals) {
    this.#components = components;
    const stored = readPlaces(components.file);
    const now = components.clock.now();
    this.#passes = Object.entries(intervals).map(([name, intervalMs]) => ({
      ...{ name, intervalMs, place: stored.get(name) ?? BEGINNING, shape: null, begunAt: now, dueAt: now },
    }));
  }

  start(): void {
    if (this.#passes.length === 0) return;
    this.#started = true;
    this.#later(LOOK_AGAIN_MS);
  }

  stop(): void {
    this.#timer?.cancel();
    if (this.#started && !this.#stopped) this.#store();
    this.#stopped = true;
  }

  #later(ms: number): void {
    if (!this.#stopped) this.#timer = this.#components.clock.after(ms, () => this.#turn());
  }

  #turn(): void {
    const { clock, logger } = this.#components;
    const begun = clock.now();
    let worked = false;
    try {
      worked = this.#step(begun);
    } catch (error) {
      logger.warn("a scan could not read its table; it tries again", { error: errorMessage(error) });
    }
    const now = clock.now();
    if (now - this.#storedAt > STORE_MS) this.#store();
    this.#later(worked ? Math.max(SHORTEST_PAUSE_MS, (now - begun) * PAUSES) : LOOK_AGAIN_MS);
  }

  /** False: no table is due, or none can be compared now. */
  #step(now: number): boolean {
    const replicator = this.#components.replicator();
    const pass = this.#passes.filter((p) => p.dueAt <= now).sort((a, b) => a.dueAt - b.dueAt)[0];
    if (replicator === null || pass === undefined) return false;
    const shape = [...replicator.replica.replica.shapes.values()].find((s) => foldName(s.name) === pass.name);
    if (shape === undefined) return this.#skip(pass, now);
    if (pass.shape !== null && pass.shape !== shape) pass.place = BEGINNING;
    if (pass.place === BEGINNING) pass.begunAt = now;
    pass.shape = shape;
    const step = new TableScan(replicator, shape).step(pass.place);
    if (step.done === "waits") return false;
    pass.place = step.next;
    // The others get their turn between two slices.
    pass.dueAt = step.done === "pass" ? Math.max(now, pass.begunAt + pass.intervalMs) : now;
    this.#published(pass, step.published);
    return true;
  }

  #skip(pass: Pass, now: number): false {
    if (!this.#unknown.has(pass.name))
      this.#components.logger.warn("--scan names a table that does not replicate", { table: pass.name });
    this.#unknown.add(pass.name);
    pass.dueAt = now + pass.intervalMs;
    return false;
  }

  #published({ name }: Pass, rows: number): void {
    if (rows === 0) return;
    this.published += rows;
    this.#components.logger.event("verify", "rows that no trigger saw are published", { table: name, rows });
  }

  #store(): void {
    this.#storedAt = this.#components.clock.now();
    const { file, logger } = this.#components;
    try {
      const places = this.#passes.map(({ name, place: { side, after } }) => ({
        ...{ name, side, after: after === null ? null : Buffer.from(encodeImage(after)).toString("base64") },
      }));
      writeFileSync(`${file}.new`, JSON.stringify(places), { mode: 0o600 });
      renameSync(`${file}.new`, file);
    } catch (error) {
      logger.warn("the places of the scans are not stored", { error: errorMessage(error) });
    }
  }
}

/** None where nothing can be read: a pass then begins again. */
function readPlaces(file: string): Map<string, ScanPlace> {
  try {
    const places = JSON.parse(readFileSync(file, "utf8")) as {
      name: string;
      side: ScanPlace["side"];
      after: string | null;
    }[];
    return new Map(
      places.map(({ name, side, after }) => [
        name,
        { side, after: after === null ? null : decodeImage(new Uint8Array(Buffer.from(after, "base64"))) },
      ]),
    );
  } catch {
    return new Map();
  }
}
