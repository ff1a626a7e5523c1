/** A node of one replica in memory, whose entries a test makes, and stores that fail on demand. */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ShippedNode } from "../../src/archive/shipping/shipped.ts";
import { Shipper, type ShipperOptions } from "../../src/archive/shipping/shipper.ts";
import { DirStore } from "../../src/archive/stores/dir-store.ts";
import type { ArchiveStore } from "../../src/archive/stores/store.ts";
import { openSeal } from "../../src/archive/seal.ts";
import { type Clock, systemClock } from "../../src/base/clock.ts";
import { Random } from "../../src/base/random.ts";
import type { Entry } from "../../src/raft/model/types.ts";
import { batch, entry, MemoryReplica, type Write } from "../replica/lab.ts";
import { silentLogger } from "../silent-logger.ts";

export const CLUSTER = "0".repeat(32);

export function temporaryFolder(): { readonly path: string; remove(): void } {
  const path = mkdtempSync(join(tmpdir(), "marmot-archive-"));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

/** The log of a cluster, which several nodes read. */
export class FakeLog {
  readonly entries: Entry[] = [];
  first = 1;
  #csn = 0;

  write(...writes: Write[]): Entry {
    const previousCsn = this.#csn++;
    const index = this.entries.length + 1;
    const made = entry(index, { batch: batch({ csn: this.#csn, previousCsn, writes, time: Date.now() }) });
    this.entries.push(made);
    return made;
  }
}

export class FakeNode implements ShippedNode {
  readonly cluster: string;
  readonly shards = 1;
  readonly name: string;
  readonly memory = new MemoryReplica({ schema: "CREATE TABLE t(k INTEGER PRIMARY KEY, v)", shards: 1 });
  leading = true;
  held: readonly number[] = [];
  readonly #log: FakeLog;
  #onCommit: () => void = () => {};

  constructor(name: string, log: FakeLog, cluster = CLUSTER) {
    this.name = name;
    this.#log = log;
    this.cluster = cluster;
    this.memory.replica.onCommit = () => this.#onCommit();
  }

  /** Applies entries of the log up to `index`. */
  apply(index = this.#log.entries.length): void {
    for (let at = this.positions()[0]! + 1; at <= index; at++)
      this.memory.give(0, this.#log.entries[at - 1]!);
  }

  positions(): readonly number[] {
    return this.memory.replica.positions();
  }

  state(): ReturnType<ShippedNode["state"]> {
    const { replica } = this.memory;
    return { positions: replica.positions(), terms: [replica.term(0)], sums: [replica.checksums.ofShard(0)] };
  }

  log(): ReturnType<ShippedNode["log"]> {
    const { entries } = this.#log;
    return {
      firstIndex: () => this.#log.first,
      lastIndex: () => entries.length,
      term: (index) => (index === 0 ? 0 : entries[index - 1]!.term),
      entries: (from, to) => entries.slice(from - 1, to - 1),
    };
  }

  leads(): boolean {
    return this.leading;
  }

  copy(path: string): ReturnType<ShippedNode["copy"]> {
    this.memory.db.exec(`VACUUM INTO '${path}'`);
    const { replica } = this.memory;
    return Promise.resolve({ positions: replica.positions(), terms: [replica.term(0)], at: Date.now() });
  }

  onCommit(run: () => void): void {
    this.#onCommit = run;
  }

  hold(positions: readonly number[]): void {
    this.held = positions;
  }
}

export interface ShipOptions extends Partial<ShipperOptions> {
  readonly store?: ArchiveStore;
  readonly keyFile?: string | null;
  readonly clock?: Clock;
}

export function shipperOf(node: () => FakeNode | null, folder: string, options: ShipOptions = {}): Shipper {
  const {
    store = new DirStore(join(folder, "archive")),
    keyFile = null,
    clock = systemClock,
    ...rest
  } = options;
  return new Shipper(
    {
      ...{ node, clock, random: new Random(1), logger: silentLogger, store },
      seal: () => openSeal(keyFile),
      scratch: join(folder, "copy"),
    },
    { intervalMs: 5, keep: { ms: null, snapshots: null }, ...rest },
  );
}

/** Throws with `what` unless it becomes true within ten seconds. */
export async function until(condition: () => boolean, what: string): Promise<void> {
  const end = Date.now() + 10_000;
  while (!condition()) {
    if (Date.now() > end) throw new Error(`${what}: not within ten seconds`);
    await Bun.sleep(2);
  }
}

/** Paths of the links of an archive in a folder, in order. */
export const linksIn = (folder: string): string[] =>
  readdirSync(join(folder, "archive", "chain", "000000"))
    .filter((name) => !name.startsWith("."))
    .sort()
    .map((name) => join(folder, "archive", "chain", "000000", name));

export function changeByte(path: string, at: number): void {
  const bytes = readFileSync(path);
  const place = at < 0 ? bytes.length + at : at;
  bytes[place] = bytes[place]! ^ 1;
  writeFileSync(path, bytes);
}
