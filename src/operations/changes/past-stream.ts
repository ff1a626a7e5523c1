/**
 * The change feed of a reader whose place is before the history: first the archive, up to a state that the history has, then the history.
 * The seam is a position, so each entry comes once: the archive tells those up to it, the history those after it.
 */
import type { Clock } from "../../base/clock.ts";
import { errorMessage, UserError } from "../../base/errors.ts";
import { hasReached, parsePosition, showPosition } from "../../base/text/position-token.ts";
import type { History } from "../../replication/node-history.ts";
import type { Replicator } from "../../replication/replicator.ts";
import type { ChangeLine, ChangeStream } from "../changes-api.ts";
import { namesOf, type PastNames } from "./change-json.ts";
import { aliveLine, endLine, latest } from "./change-lines.ts";
import type { BeforeHistory, HistoryPlace } from "./history-place.ts";
import type { PastLines, PastSource } from "./past-source.ts";

/** A reader gets a sign of life while the archive is restored. */
const ALIVE_MS = 10_000;

export interface PastParts {
  readonly replicator: Replicator;
  readonly history: Pick<History, "reader" | "isClosed">;
  readonly clock: Clock;
  readonly past: PastSource;
  /** The feed from a place of the history on. */
  readonly live: (place: HistoryPlace) => ChangeStream;
}

/** Rejects with `UserError` if the archive does not reach back that far, or does not answer. */
export async function openPast(
  parts: PastParts,
  before: BeforeHistory,
  tables: readonly string[] | null,
): Promise<ChangeStream> {
  const seam = parts.history.reader.firstState();
  const range = { since: before.since, until: showPosition(seam) };
  try {
    const lines = await parts.past.lines(range, tables);
    return new PastStream(parts, { lines, seam, tables, position: parsePosition(before.since) ?? [] });
  } catch (error) {
    throw refusedByBoth(before, error);
  }
}

/** The refusal of the history, and that of the archive, which names what it has. */
export function refusedByBoth(before: UserError, error: unknown): UserError {
  const hint = error instanceof UserError ? error.hint : "try it again";
  return new UserError(`${before.message}; ${errorMessage(error)}`, hint, { cause: error });
}

interface Reading {
  readonly lines: PastLines;
  readonly seam: readonly number[];
  readonly tables: readonly string[] | null;
  readonly position: readonly number[];
}

export class PastStream implements ChangeStream {
  readonly #parts: PastParts;
  readonly #names: PastNames;
  readonly #tables: readonly string[] | null;
  #lines: PastLines;
  #seam: readonly number[];
  #position: readonly number[];
  /** null: the archive is read. */
  #live: ChangeStream | null = null;
  #asked: Promise<readonly ChangeLine[] | null> | null = null;
  #ended = false;

  constructor(parts: PastParts, { lines, seam, tables, position }: Reading) {
    this.#parts = parts;
    this.#names = namesOf(parts.replicator);
    this.#lines = lines;
    this.#seam = seam;
    this.#tables = tables;
    this.#position = position;
  }

  async next(): Promise<readonly ChangeLine[] | null> {
    if (this.#ended) return null;
    if (this.#live !== null) return this.#live.next();
    try {
      return await this.#fromArchive();
    } catch (error) {
      if (this.#ended) return null;
      this.close();
      const hint = error instanceof UserError ? ` (${error.hint})` : "";
      return [endLine(`${errorMessage(error)}${hint}`)];
    }
  }

  async #fromArchive(): Promise<readonly ChangeLine[] | null> {
    for (;;) {
      this.#asked ??= this.#lines.next();
      const lines = await this.#orSilent(this.#asked);
      if (this.#ended) return null;
      if (lines === "silent") return [aliveLine(this.#position)];
      this.#asked = null;
      if (lines === null) {
        this.#lines.close();
        if (await this.#pass()) return this.#live!.next();
        continue;
      }
      for (const { last, position } of lines)
        if (last) this.#position = latest(this.#position, parsePosition(position) ?? []);
      return lines.map((line) => this.#withJournal(line));
    }
  }

  async #orSilent<T>(work: Promise<T>): Promise<T | "silent"> {
    const { promise: silence, resolve } = Promise.withResolvers<"silent">();
    const timer = this.#parts.clock.after(ALIVE_MS, () => resolve("silent"));
    try {
      return await Promise.race([work, silence]);
    } finally {
      timer.cancel();
    }
  }

  /** Goes on in the history. False: it has lost that place by now, and the archive goes on. */
  async #pass(): Promise<boolean> {
    const { history, past, live } = this.#parts;
    if (history.isClosed) throw new Error("this node closed its files: connect again with the last position");
    const { reader } = history;
    this.#position = latest(this.#position, this.#seam);
    if (hasReached(this.#position, reader.reach.from)) {
      this.#live = live({ id: reader.idBefore(this.#position), position: this.#position });
      return true;
    }
    this.#seam = reader.firstState();
    const range = { since: showPosition(this.#position), until: showPosition(this.#seam) };
    this.#lines = await past.lines(range, this.#tables);
    return false;
  }

  /** A conflict that the journal keeps is told as the journal has it by now. */
  #withJournal(line: ChangeLine): ChangeLine {
    if (line.kind !== "conflict") return line;
    const at = line.json.indexOf(CONFLICT);
    const { conflict } = JSON.parse(line.json) as { conflict: { id: string } };
    const kept = this.#names.conflict(conflict.id);
    return kept === null || at === -1
      ? line
      : { ...line, json: `${line.json.slice(0, at)},"conflict":${kept}}` };
  }

  close(): void {
    this.#ended = true;
    this.#lines.close();
    this.#live?.close();
  }
}

const CONFLICT = ',"conflict":{';
