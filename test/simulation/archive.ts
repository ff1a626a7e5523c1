/** An archive in memory that simulated nodes ship to, and the check that each of its positions is what the nodes had there. */
import { rmSync } from "node:fs";
import { Archive } from "../../src/archive/archive.ts";
import { replay, type Target } from "../../src/archive/replay.ts";
import { openSeal } from "../../src/archive/seal.ts";
import type { ArchiveStore } from "../../src/archive/stores/store.ts";
import { Random } from "../../src/base/random.ts";
import { showPosition } from "../../src/base/text/position-token.ts";
import type { OpenReplica } from "../../src/replica/open-replica.ts";
import { digest } from "./digest.ts";

/** Of a call that fails: before it has an effect, or after it. */
const FAILURE = 0.04;
const REPLAYS = 4;

export class MemoryStore implements ArchiveStore {
  readonly shown = "memory";
  readonly #objects = new Map<string, Uint8Array>();
  readonly #random: Random;
  /** Nothing fails any more. */
  calm = false;

  constructor(seed: number) {
    this.#random = new Random(seed);
  }

  async #call<T>(work: () => T): Promise<T> {
    await Promise.resolve();
    const fails = !this.calm && this.#random.chance(FAILURE);
    const lost = fails && this.#random.chance(0.5);
    if (fails && !lost) throw new Error("the store does not answer");
    const result = work();
    if (lost) throw new Error("the answer of the store is lost");
    return result;
  }

  list(folder: string, after = ""): Promise<string[]> {
    const isIn = (name: string): boolean =>
      name.startsWith(folder) && !name.slice(folder.length).includes("/") && name > after;
    return this.#call(() => [...this.#objects.keys()].filter(isIn).sort());
  }

  folders(folder: string): Promise<string[]> {
    return this.#call(() => {
      const names = [...this.#objects.keys()].filter((name) => name.startsWith(folder));
      const inner = names.map((name) => name.slice(folder.length).split("/"));
      return [
        ...new Set(inner.flatMap(([first, rest]) => (rest === undefined ? [] : [`${folder}${first}/`]))),
      ].sort();
    });
  }

  get(name: string): Promise<Uint8Array | null> {
    return this.#call(() => this.#objects.get(name) ?? null);
  }

  create(name: string, bytes: Uint8Array): Promise<boolean> {
    return this.#call(() => {
      if (this.#objects.has(name)) return false;
      this.#objects.set(name, bytes);
      return true;
    });
  }

  put(name: string, bytes: Uint8Array): Promise<void> {
    return this.#call(() => void this.#objects.set(name, bytes));
  }

  async upload(name: string, open: () => AsyncIterable<Uint8Array>): Promise<void> {
    const all: Uint8Array[] = [];
    for await (const chunk of open()) all.push(chunk);
    await this.put(name, Buffer.concat(all));
  }

  async *stream(name: string): AsyncIterable<Uint8Array> {
    const bytes = await this.get(name);
    if (bytes !== null) yield bytes;
  }

  remove(name: string): Promise<void> {
    return this.#call(() => void this.#objects.delete(name));
  }

  /** Names of the objects below a folder. */
  names(folder: string): readonly string[] {
    return [...this.#objects.keys()].filter((name) => name.startsWith(folder)).sort();
  }

  sweep(): Promise<void> {
    return Promise.resolve();
  }

  /** As a process sees it until it ends. */
  of(isAlive: () => boolean): ArchiveStore {
    const guarded =
      <A extends unknown[], T>(work: (...given: A) => Promise<T>) =>
      (...given: A): Promise<T> =>
        isAlive() ? work(...given) : new Promise<T>(() => {});
    return {
      shown: this.shown,
      list: guarded((folder, after) => this.list(folder, after)),
      folders: guarded((folder) => this.folders(folder)),
      get: guarded((name) => this.get(name)),
      create: guarded((name, bytes) => this.create(name, bytes)),
      put: guarded((name, bytes) => this.put(name, bytes)),
      upload: guarded((name, open) => this.upload(name, open)),
      stream: (name) => this.stream(name),
      remove: guarded((name) => this.remove(name)),
      sweep: () => this.sweep(),
    };
  }
}

export type Digest = ReadonlyMap<string, bigint>;

/** Replays the archive to known positions. Returns what is wrong, and the number of positions that were compared. */
export async function judgeArchive(
  store: MemoryStore,
  known: ReadonlyMap<string, Digest>,
  { seed, file }: { readonly seed: number; readonly file: string },
): Promise<{ readonly problems: string[]; readonly compared: number; readonly merged: number }> {
  store.calm = true;
  const random = new Random(seed);
  const archive = await Archive.open(store, await openSeal(null));
  if (archive === null) return { problems: ["there is no archive"], compared: 0, merged: 0 };
  const [first] = await archive.snapshots();
  if (first === undefined) return { problems: ["the archive has no snapshot"], compared: 0, merged: 0 };
  const problems: string[] = [];
  let compared = 0;
  const compare = ({ db, replica }: OpenReplica): void => {
    const at = replica.positions();
    const expected = known.get(at.join());
    if (expected === undefined) return;
    compared++;
    for (const [table, hash] of digest(db, replica.shapes.values()))
      if (expected.get(table) !== hash)
        problems.push(
          `the archive restores ${table} at ${showPosition(at)} otherwise than a node had it there`,
        );
  };
  const run = async (target: Target): Promise<void> => {
    let opened: OpenReplica | null = null;
    try {
      await replay({
        ...{ archive, target, file },
        onOpen: (open) => {
          opened = open;
          compare(open);
        },
        onSegment: () => compare(opened!),
      });
    } catch (error) {
      problems.push(`the archive cannot be restored: ${(error as Error).message}`);
    }
    for (const suffix of ["", "-wal", "-shm"]) rmSync(file + suffix, { force: true });
  };
  await run({ kind: "newest" });
  const end = (await archive.tail(null))!.link.to;
  const within = [...known.keys()]
    .map((key) => key.split(",").map(Number))
    .filter((at) => at.every((index, i) => index >= first.positions[i]! && index <= end[i]!));
  for (let i = 0; i < REPLAYS && within.length > 0; i++)
    await run({ kind: "position", position: random.pick(within) });
  return { problems, compared, merged: store.names("merged/").length };
}
