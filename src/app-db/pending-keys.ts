/** Which rows have log rows that are not acknowledged: read straight from the logs, whatever the tables are by now. */
import type { DatabaseSync } from "node:sqlite";
import type { CapturedTable } from "../capture/install.ts";
import { type KeyId, keyIdOf } from "../change/key.ts";
import type { TableShape } from "../change/shape.ts";
import type { Value } from "../change/value.ts";
import { exactKey, exactKeyColumns, prepareExact } from "../rows/row-access.ts";
import { quoteIdentifier } from "../sqlite/quote.ts";

export class PendingKeys {
  readonly #db: DatabaseSync;
  readonly #captured: ReadonlyMap<number, CapturedTable>;
  readonly #encoding: string;
  readonly #tables = new Map<number, Map<KeyId, number>>();

  constructor(db: DatabaseSync, captured: readonly CapturedTable[], encoding: string) {
    this.#db = db;
    this.#captured = new Map(captured.map((c) => [c.id, c]));
    this.#encoding = encoding;
  }

  /** The newest log row of a row of the table; 0: nothing of it is pending. */
  newest(shape: TableShape | undefined, key: readonly Value[]): number {
    return shape === undefined ? 0 : this.newestOf(shape, keyIdOf(shape, key));
  }

  newestOf(shape: TableShape | undefined, keyId: KeyId): number {
    return shape === undefined ? 0 : (this.#of(shape).get(keyId) ?? 0);
  }

  keys(shape: TableShape): Iterable<KeyId> {
    return this.#of(shape).keys();
  }

  /** What was written to these rows of the table will not be sent: their log rows count no more. */
  forget(shape: TableShape, keyIds: ReadonlySet<KeyId>): void {
    const table = this.#captured.get(shape.id);
    if (table === undefined) return;
    const settle = this.#db.prepare(`UPDATE main.${quoteIdentifier(table.log)} SET v = 0 WHERE id = ?`);
    for (const [id, keyId] of this.#logRows(shape, table)) if (keyIds.has(keyId)) settle.run(id);
  }

  #of(shape: TableShape): Map<KeyId, number> {
    let keys = this.#tables.get(shape.id);
    if (keys === undefined) this.#tables.set(shape.id, (keys = this.#read(shape)));
    return keys;
  }

  #read(shape: TableShape): Map<KeyId, number> {
    const table = this.#captured.get(shape.id);
    return new Map(table === undefined ? [] : this.#logRows(shape, table).map(([id, keyId]) => [keyId, id]));
  }

  /** In the order of their ids. */
  #logRows(shape: TableShape, table: CapturedTable): [id: number, keyId: KeyId][] {
    const columns = exactKeyColumns(
      shape,
      shape.key.map((_, i) => `k${i + 1}`),
    );
    const from = this.#db
      .prepare(`SELECT "value" FROM "__marmot__status" WHERE "item" = 'acknowledged' AND "name" = ?`)
      .get(table.name) as { value: number } | undefined;
    const rows = prepareExact(
      this.#db,
      `SELECT id, ${columns} FROM main.${quoteIdentifier(table.log)} WHERE id > ? AND v IS NOT 0 ORDER BY id`,
    );
    return (rows.all(from?.value ?? 0) as unknown as Value[][]).flatMap((row) => {
      const key = exactKey(shape, row, this.#encoding, 1);
      return key.includes(null) ? [] : [[Number(row[0]), keyIdOf(shape, key)] as [number, KeyId]];
    });
  }
}
