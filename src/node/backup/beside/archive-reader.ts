/**
 * The archive of a running node, read for its feed and its undo: `marmot changes --archive` in a process beside it, so that the node waits
 * neither for the store nor for entries that are applied again. A reader that is slow makes that process wait.
 */
import { mkdirSync } from "node:fs";
import { dirname } from "node:path";
import type { Clock } from "../../../base/clock.ts";
import { UserError } from "../../../base/errors.ts";
import type { ChangeLine } from "../../../operations/changes-api.ts";
import { readLine } from "../../../operations/changes/change-lines.ts";
import type { PastLines, PastRange, PastSource } from "../../../operations/changes/past-source.ts";
import { removeDatabase } from "../../../replica/copies/database-files.ts";
import { refusedBy } from "./refused-by.ts";

/** Of one node. Each needs a core, and room for a replica in the folder for temporary files. */
const MOST_READERS = 4;
/** Without a sign of life: the store does not answer. */
const SILENT_MS = 60_000;
const HINT =
  "marmot archive status shows whether it can be read; marmot changes --archive DEST reads it without a node";

export interface ArchiveReaderOptions {
  readonly to: string;
  readonly keyFile: string | null;
  readonly dataDir: string;
  readonly functions: string | null;
  readonly libraries: readonly string[];
}

export interface ArchiveReaderComponents {
  readonly clock: Clock;
  /** The command that starts this program. */
  readonly command: readonly string[];
  /** Beginning of the paths of databases for undo. */
  readonly scratch: string;
}

export class ArchiveReader implements PastSource {
  readonly #components: ArchiveReaderComponents;
  readonly #options: ArchiveReaderOptions;
  readonly #running = new Set<Reading>();

  constructor(components: ArchiveReaderComponents, options: ArchiveReaderOptions) {
    this.#components = components;
    this.#options = options;
  }

  get to(): string {
    return this.#options.to;
  }

  async lines({ since, until }: PastRange, tables: readonly string[] | null): Promise<PastLines> {
    const only = tables === null ? [] : ["--tables", tables.join(",")];
    const reading = this.#start(["--since", since, "--until", until, ...only]);
    await reading.begun();
    return reading;
  }

  async record<T>(
    of: PastRange | { readonly entry: string },
    use: (path: string) => T | Promise<T>,
  ): Promise<T> {
    const path = `${this.#components.scratch}-${crypto.randomUUID().slice(0, 8)}.db`;
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    const range = "entry" in of ? ["--position", of.entry] : ["--since", of.since, "--until", of.until];
    const reading = this.#start([...range, "--record", path]);
    try {
      while ((await reading.next()) !== null);
      return await use(path);
    } finally {
      reading.close();
      removeDatabase(path);
    }
  }

  #start(range: readonly string[]): Reading {
    const { to, keyFile, dataDir, functions, libraries } = this.#options;
    const { clock, command } = this.#components;
    if (this.#running.size >= MOST_READERS)
      throw new UserError(
        `${MOST_READERS} readers read the archive ${to} at this node already`,
        "try it again later, or read it with marmot changes --archive on another machine",
      );
    const cmd = [
      ...[...command, "changes", "--archive", to, "--data-dir", dataDir, ...range],
      ...(keyFile === null ? [] : ["--archive-key", keyFile]),
      ...(functions === null ? [] : ["--functions", functions]),
      ...libraries.flatMap((library) => ["--load-extension", library]),
    ];
    const reading = new Reading(cmd, { to, clock, onEnd: () => this.#running.delete(reading) });
    this.#running.add(reading);
    return reading;
  }

  stop(): void {
    for (const reading of this.#running) reading.close();
  }
}

interface ReadingParts {
  readonly to: string;
  readonly clock: Clock;
  readonly onEnd: () => void;
}

class Reading implements PastLines {
  readonly #parts: ReadingParts;
  readonly #child: Bun.Subprocess<"ignore", "pipe", "pipe">;
  readonly #chunks: ReadableStreamDefaultReader<Uint8Array>;
  readonly #decoder = new TextDecoder();
  readonly #errors: Promise<void>;
  readonly #begun: Promise<unknown>;
  #err = "";
  #rest = "";
  #aliveAt: number;
  #tellBegun!: () => void;

  constructor(cmd: string[], parts: ReadingParts) {
    this.#parts = parts;
    this.#child = Bun.spawn({ cmd, stdin: "ignore", stdout: "pipe", stderr: "pipe" });
    this.#chunks = this.#child.stdout.getReader() as ReadableStreamDefaultReader<Uint8Array>;
    this.#aliveAt = parts.clock.now();
    this.#begun = Promise.race([
      this.#child.exited,
      new Promise<void>((resolve) => (this.#tellBegun = resolve)),
    ]);
    this.#errors = this.#readErrors().catch(() => {});
    void this.#child.exited.then(() => parts.onEnd());
  }

  /** Messages are signs of life; the last ones are the reason of an end. */
  async #readErrors(): Promise<void> {
    const decoder = new TextDecoder();
    for await (const chunk of this.#child.stderr as unknown as AsyncIterable<Uint8Array>) {
      this.#aliveAt = this.#parts.clock.now();
      this.#err = (this.#err + decoder.decode(chunk, { stream: true })).slice(-10_000);
      if (this.#err.includes(BEGUN)) this.#tellBegun();
    }
  }

  /** The archive is opened and has the beginning. */
  async begun(): Promise<void> {
    await this.#unlessSilent(this.#begun);
    if (!this.#err.includes(BEGUN)) await this.#requireDone();
  }

  async next(): Promise<readonly ChangeLine[] | null> {
    for (;;) {
      const { done, value } = await this.#unlessSilent(this.#chunks.read());
      if (done || value === undefined) {
        await this.#requireDone();
        return null;
      }
      this.#aliveAt = this.#parts.clock.now();
      const all = (this.#rest + this.#decoder.decode(value, { stream: true })).split("\n");
      this.#rest = all.pop()!;
      const lines = all.map(readLine).filter((line) => line !== null);
      if (lines.length > 0) return lines;
    }
  }

  async #requireDone(): Promise<void> {
    const code = await this.#unlessSilent(this.#child.exited);
    await this.#errors;
    if (code !== 0) throw refusedBy(this.#err, code, HINT);
  }

  async #unlessSilent<T>(work: Promise<T>): Promise<T> {
    const { clock, to } = this.#parts;
    this.#aliveAt = clock.now();
    const isSilent = Symbol("silent");
    let timer = { cancel(): void {} };
    const silence = new Promise<typeof isSilent>((resolve) => {
      const look = (): void => {
        const left = this.#aliveAt + SILENT_MS - clock.now();
        if (left <= 0) resolve(isSilent);
        else timer = clock.after(left, look);
      };
      look();
    });
    const result = await Promise.race([work, silence]);
    timer.cancel();
    if (typeof result !== "symbol") return result;
    this.close();
    throw new UserError(`the archive ${to} does not answer within ${SILENT_MS / 1000} s`, HINT);
  }

  /** The process removes its files. */
  close(): void {
    void this.#chunks.cancel().catch(() => {});
    this.#child.kill();
  }
}

/** Beginning of the message with which the command says that the archive has the wanted changes. */
export const BEGUN = "reading the archive ";
