/** Events of an entry as lines of the feed: the same from the history of a node and from an archive. */
import { parsePosition, showPosition } from "../../base/text/position-token.ts";
import type { PastEntry } from "../../replica/history/history-reader.ts";
import type { ChangeLine } from "../changes-api.ts";
import type { ChangeEvent } from "./change-json.ts";

/** The larger index of each shard. */
export const latest = (a: readonly number[], b: readonly number[]): number[] =>
  Array.from({ length: Math.max(a.length, b.length) }, (_, shard) => Math.max(a[shard] ?? 0, b[shard] ?? 0));

/** The place of a reader: its position, and the part of a large entry that it has read. */
export class FeedPlace {
  #position: readonly number[];
  #part = 0;

  constructor(position: readonly number[]) {
    this.#position = position;
  }

  get position(): readonly number[] {
    return this.#position;
  }

  /** Number of the last part of a large entry; 0: no entry is under way. */
  get part(): number {
    return this.#part;
  }

  /** The reader has the entry already. */
  isPast({ shard, index }: PastEntry): boolean {
    return index <= (this.#position[shard] ?? 0);
  }

  /** Moves behind the entry, or behind a part of it. `make`: its events, by the number of the part. */
  take(entry: PastEntry, make: (part: number) => readonly ChangeEvent[]): ChangeLine[] {
    const events = make(++this.#part);
    if (entry.last) {
      this.#part = 0;
      this.#position = latest(this.#position, parsePosition(entry.position) ?? []);
    }
    const position = showPosition(this.#position);
    return events.map(({ kind, body }, i) => {
      const last = entry.last && i === events.length - 1;
      const at = entry.last ? `"position":"${position}",` : "";
      return {
        kind,
        last,
        position: last ? position : "",
        json: `{"kind":"${kind}",${at}"last":${last},${body}}`,
      };
    });
  }
}

const LINE = /^\{"kind":"(transaction|schema|conflict)",(?:"position":"(c:[\d.]+)",)?"last":(true|false),/;

/** Reads a line that `take` made; null: it is of another kind. */
export function readLine(json: string): ChangeLine | null {
  const match = LINE.exec(json);
  if (match === null) return null;
  const [, kind, position = "", last] = match;
  const isLast = last === "true";
  return { kind: kind as ChangeEvent["kind"], last: isLast, position: isLast ? position : "", json };
}

export const endLine = (reason: string): ChangeLine => ({
  ...{ kind: "end", last: false, position: "" },
  json: JSON.stringify({ kind: "end", reason }),
});

/** A sign of life with the last position that was told. */
export const aliveLine = (position: readonly number[]): ChangeLine => ({
  ...{ kind: "alive", last: false, position: "" },
  json: `{"kind":"alive","position":"${showPosition(position)}"}`,
});
