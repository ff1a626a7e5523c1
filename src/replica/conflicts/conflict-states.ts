/**
 * States of journal entries: an entry is open until an operator restores its row or dismisses it. A state travels as the note
 * of a check entry in the shard of its conflict, so every node has it at the same position. A build that does not know such notes
 * records its checksums under them, and is not disturbed.
 */
import type { DatabaseSync } from "node:sqlite";
import * as v from "valibot";
import { arraysLazily, lazily, type LazyStatement } from "../../sqlite/lazy.ts";
import { integer, oneOf, readTuple } from "../../sqlite/typed-rows.ts";

const STATES = ["restored", "dismissed"] as const;
export type SettledState = (typeof STATES)[number];

export interface ConflictState {
  readonly state: SettledState;
  /** `peerHash` of the node on which it was settled. */
  readonly by: number;
  readonly time: number;
}

/** The place of a conflict within its shard. */
interface Place {
  readonly index: number;
  readonly ordinal: number;
}

const PREFIX = "journal:";
/** Conflicts in one entry: it stays small. */
export const SETTLED_AT_ONCE = 1000;

const noteSchema = v.object({
  state: v.picklist(STATES),
  of: v.pipe(v.array(v.tuple([v.number(), v.number()])), v.maxLength(SETTLED_AT_ONCE)),
});

export const settleNote = (state: SettledState, of: readonly Place[]): string =>
  PREFIX + JSON.stringify({ state, of: of.map(({ index, ordinal }) => [index, ordinal]) });

export const isSettleNote = (note: string): boolean => note.startsWith(PREFIX);

export class ConflictStates {
  readonly #put: LazyStatement;
  readonly #get: LazyStatement;
  readonly #trim: LazyStatement;
  readonly #count: LazyStatement;
  readonly #exists: LazyStatement;
  #total: number | null = null;

  constructor(db: DatabaseSync) {
    this.#put = lazily(db, `INSERT OR REPLACE INTO "__marmot__conflict_state" VALUES(?, ?, ?, ?, ?, ?)`);
    this.#get = arraysLazily(
      db,
      `SELECT "state", "origin", "time" FROM "__marmot__conflict_state" WHERE "shard" = ? AND "idx" = ? AND "ordinal" = ?`,
    );
    this.#trim = lazily(
      db,
      `DELETE FROM "__marmot__conflict_state" WHERE "shard" = ?1 AND ("idx", "ordinal") <
         (SELECT "idx", "ordinal" FROM "__marmot__conflict" WHERE "shard" = ?1 ORDER BY "idx", "ordinal" LIMIT 1)`,
    );
    this.#count = arraysLazily(db, `SELECT count(*) FROM "__marmot__conflict_state"`);
    this.#exists = lazily(
      db,
      `SELECT 1 FROM "__marmot__conflict" WHERE "shard" = ? AND "idx" = ? AND "ordinal" = ?`,
    );
  }

  /** Entries that are restored or dismissed. */
  get total(): number {
    this.#total ??= readTuple(this.#count.get(), integer)[0];
    return this.#total;
  }

  /** null: it is open. */
  of(shard: number, index: number, ordinal: number): ConflictState | null {
    const row = this.#get.get(shard, index, ordinal);
    if (row === undefined) return null;
    const [state, by, time] = readTuple(row, ...([oneOf(...STATES), integer, integer] as const));
    return { state, by, time };
  }

  /** The journal dropped its oldest entries of a shard. */
  trim(shard: number): void {
    if (this.total === 0) return;
    this.#trim.run(shard);
    this.#total = null;
  }

  /** Applies the note of an entry. Entries that the journal does not keep are ignored; a restored one is not dismissed. */
  apply(shard: number, note: string, by: { readonly origin: number; readonly time: number }): void {
    for (const { state, index, ordinal } of readNote(note)) {
      if (this.#exists.get(shard, index, ordinal) === undefined) continue;
      if (state === "dismissed" && this.of(shard, index, ordinal) !== null) continue;
      this.#put.run(shard, index, ordinal, state, by.origin, by.time);
    }
    this.#total = null;
  }
}

function readNote(note: string): (Place & { readonly state: SettledState })[] {
  let given: unknown;
  try {
    given = JSON.parse(note.slice(PREFIX.length));
  } catch {
    return [];
  }
  const parsed = v.safeParse(noteSchema, given);
  if (!parsed.success) return [];
  const { state, of } = parsed.output;
  return of.flatMap(([index, ordinal]) =>
    Number.isSafeInteger(index) && Number.isSafeInteger(ordinal) ? [{ state, index, ordinal }] : [],
  );
}
