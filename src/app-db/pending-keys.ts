/** Rows with unacknowledged log rows, read straight from the logs, for a file whose tables may have changed since. */
import type { DatabaseSync } from "node:sqlite";
import { type KeyId, keyIdOf } from "../change/key.ts";
import type { TableShape } from "../change/shape.ts";
import type { Value } from "../change/value.ts";
import { ChangeLogReader, selectsOf, UNFOUNDED } from "../rows/change-log-reader.ts";
import { type CapturedTable, readAcknowledged } from "../rows/change-logs.ts";
import { quoteIdentifier } from "../sqlite/quote.ts";

export class PendingKeys {
  readonly #db: DatabaseSync;
  readonly #captured: ReadonlyMap<number, CapturedTable>;
  readonly #acknowledged: ReadonlyMap<number, number>;
  readonly #encoding: string;
  /** By table: the newest log id of each key. */
  readonly #tables = new Map<number, Map<KeyId, number>>();

  constructor(db: DatabaseSync, captured: readonly CapturedTable[], encoding: string) {
    this.#db = db;
    this.#captured = new Map(captured.map((c) => [c.id, c]));
    this.#acknowledged = readAcknowledged(db);
    this.#encoding = encoding;
  }

  /** The newest log row of a row of the table; 0: the row is not pending. */
  newest(shape: TableShape | undefined, key: readonly Value[]): number {
    return shape === undefined ? 0 : this.newestOf(shape, keyIdOf(shape, key));
  }

  newestOf(shape: TableShape | undefined, keyId: KeyId): number {
    return shape === undefined ? 0 : (this.#of(shape).get(keyId) ?? 0);
  }

  keys(shape: TableShape): Iterable<KeyId> {
    return this.#of(shape).keys();
  }

  /** Changes of these rows of the table will not be sent: their log rows no longer count. */
  forget(shape: TableShape, keyIds: ReadonlySet<KeyId>): void {
    const table = this.#captured.get(shape.id);
    if (table === undefined) return;
    const settle = this.#db.prepare(`UPDATE main.${quoteIdentifier(table.log)} SET v = ? WHERE id = ?`);
    for (const [id, keyId] of this.#logRows(shape)) if (keyIds.has(keyId)) settle.run(UNFOUNDED, id);
  }

  #of(shape: TableShape): Map<KeyId, number> {
    let keys = this.#tables.get(shape.id);
    if (keys === undefined)
      this.#tables.set(shape.id, (keys = new Map(this.#logRows(shape).map(([id, keyId]) => [keyId, id]))));
    return keys;
  }

  /** In the order of their ids. */
  #logRows(shape: TableShape): (readonly [id: number, keyId: KeyId])[] {
    const table = this.#captured.get(shape.id);
    if (table === undefined) return [];
    const reader = new ChangeLogReader(selectsOf(this.#db), {
      ...{ shape, log: table.log, encoding: this.#encoding },
    });
    return [...reader.keyIds(this.#acknowledged.get(shape.id) ?? 0)];
  }
}
