/**
 * The base position of each change-log row: the position that the app database reflected when the row was written. A table's
 * records split its log by id: rows from `nextId` up to the next record were written while `position` was reflected. Without
 * a record it is the position reflected now.
 */
import type { PositionVector } from "./batch.ts";

export interface BaseRecord {
  readonly nextId: number;
  readonly position: PositionVector;
}

export class BasePositions {
  readonly #records = new Map<number, BaseRecord[]>();
  /** The position that the app database reflects. */
  reflected: PositionVector;

  constructor(reflected: PositionVector, records: readonly (BaseRecord & { readonly table: number })[] = []) {
    this.reflected = reflected;
    for (const { table, nextId, position } of records) this.#of(table).push({ nextId, position });
    for (const list of this.#records.values()) list.sort((a, b) => a.nextId - b.nextId);
  }

  #of(table: number): BaseRecord[] {
    let list = this.#records.get(table);
    if (list === undefined) this.#records.set(table, (list = []));
    return list;
  }

  at(table: number, id: number): PositionVector {
    const list = this.#records.get(table);
    if (list === undefined || list.length === 0) return this.reflected;
    for (let i = list.length - 1; i > 0; i--) if (list[i]!.nextId <= id) return list[i]!.position;
    // The first record begins after the acknowledged id; an id before it is a lower bound of one that comes later.
    return list[0]!.position;
  }

  /** The position that the file showed at least of every row, whenever its log row was written. */
  oldest(): PositionVector {
    const lists = [...this.#records.values()].flatMap((list) =>
      list.length === 0 ? [] : [list[0]!.position],
    );
    return this.reflected.map((index, shard) => Math.min(index, ...lists.map((p) => p[shard] ?? 0)));
  }

  records(table: number): readonly BaseRecord[] {
    return this.#records.get(table) ?? [];
  }

  /**
   * The table's records once the file reflects `next`; `acknowledged` and `newest` are log ids. The caller writes them to the
   * file in the same transaction and then calls `replace`.
   */
  advanced(table: number, next: PositionVector, acknowledged: number, newest: number): BaseRecord[] {
    if (newest <= acknowledged) return [];
    const list = [...this.records(table)];
    if (list.length === 0) list.push({ nextId: acknowledged + 1, position: this.reflected });
    const last = list.at(-1)!;
    if (last.nextId > newest) list[list.length - 1] = { nextId: last.nextId, position: next };
    else list.push({ nextId: newest + 1, position: next });
    while (list.length > 1 && list[1]!.nextId <= acknowledged + 1) list.shift();
    return list;
  }

  replace(table: number, records: BaseRecord[]): void {
    if (records.length === 0) this.#records.delete(table);
    else this.#records.set(table, records);
  }
}
