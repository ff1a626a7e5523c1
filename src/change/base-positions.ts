/**
 * Which position the live file reflected when a change-log row was written. A table's records split its log by id: rows
 * from `nextId` on were written while `position` was reflected, up to the next record. No record: the position reflected now.
 */
import type { PositionVector } from "./batch.ts";

export interface BaseRecord {
  readonly nextId: number;
  readonly position: PositionVector;
}

export class BasePositions {
  readonly #records = new Map<number, BaseRecord[]>();
  /** The position that the live file reflects. */
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
    // The first record begins after what is acknowledged; an id before it is a lower bound of one that comes later.
    return list[0]!.position;
  }

  /** What the file showed at least of every row, whenever its log row was written. */
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
   * What a table's records must be once the file reflects `next`: `acknowledged` and `newest` are log ids. The caller
   * writes them to the file in the same transaction and then calls `replace`.
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
