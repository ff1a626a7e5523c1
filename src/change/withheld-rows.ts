/**
 * Rows that the app database shows as of an older position than the one it reflects. Either a pending row holds one of their
 * UNIQUE values, or they stayed pending while newer log rows were written at later positions. Their position is the last one
 * shown: an application that writes such a key has seen that.
 */
import type { PositionVector } from "./batch.ts";
import type { KeyId } from "./key.ts";
import type { Value } from "./value.ts";

export interface WithheldRow {
  readonly key: readonly Value[];
  readonly position: PositionVector;
}

export class WithheldRows {
  readonly tables = new Map<number, Map<KeyId, WithheldRow>>();

  get size(): number {
    let size = 0;
    for (const rows of this.tables.values()) size += rows.size;
    return size;
  }

  *positions(): Generator<PositionVector, void> {
    for (const rows of this.tables.values()) for (const { position } of rows.values()) yield position;
  }

  get(table: number, keyId: KeyId): WithheldRow | undefined {
    return this.tables.get(table)?.get(keyId);
  }

  set(table: number, keyId: KeyId, row: WithheldRow): void {
    let rows = this.tables.get(table);
    if (rows === undefined) this.tables.set(table, (rows = new Map<KeyId, WithheldRow>()));
    rows.set(keyId, row);
  }

  delete(table: number, keyId: KeyId): void {
    const rows = this.tables.get(table);
    rows?.delete(keyId);
    if (rows?.size === 0) this.tables.delete(table);
  }
}
