/**
 * Every way in which an application's file is not the replica with the pending rows on top, by a full comparison. Only true
 * right after a transaction of Marmot in the file.
 */
import type { DatabaseSync } from "node:sqlite";
import { readCaptured } from "../../src/capture/install.ts";
import { type KeyId, keyIdOf, keyIdOfImage } from "../../src/change/key.ts";
import type { TableShape } from "../../src/change/shape.ts";
import { type Image, imageEqual, type Value } from "../../src/change/value.ts";
import { exactRows } from "../../src/schema/exact-rows.ts";
import { exactKey, exactKeyColumns, prepareExact, RowAccess } from "../../src/schema/row-access.ts";
import { quoteIdentifier } from "../../src/sqlite/quote.ts";

export interface DeviationInput {
  readonly live: DatabaseSync;
  readonly replica: DatabaseSync;
  readonly shapes: Iterable<TableShape>;
  readonly encoding: string;
  /**
   * The row is listed as shadowed, and the application wrote since Marmot's last commit: the clash may have ended, and at
   * the next commit the row returns.
   */
  readonly returnsLater: (table: TableShape, keyId: KeyId) => boolean;
}

export function deviations({ live, replica, shapes, encoding, returnsLater }: DeviationInput): string[] {
  const out: string[] = [];
  const logs = readCaptured(live)!;
  for (const shape of shapes) {
    const inLive = new Map(
      [...exactRows(live, shape, encoding)].map((i) => [keyIdOfImage(shape, i), i as Image]),
    );
    const inReplica = new Map(
      [...exactRows(replica, shape, encoding)].map((i) => [keyIdOfImage(shape, i), i as Image]),
    );
    const access = new RowAccess(live, shape, encoding);
    const pending = pendingKeys(live, logs.find((c) => c.id === shape.id)!.log, shape, access);
    for (const [keyId, image] of inReplica) {
      if (pending.has(keyId)) continue;
      const shown = inLive.get(keyId);
      if (shown !== undefined && imageEqual(shown, image)) continue;
      const clashes = access.clashes(image).some((key) => pending.has(keyIdOf(shape, key)));
      if (shown === undefined && clashes) continue; // shadowed
      if (shown === undefined && returnsLater(shape, keyId)) continue;
      out.push(`${shape.name} ${String(keyId)}: ${String(shown)} shown, ${String(image)} agreed`);
    }
    for (const [keyId, image] of inLive)
      if (!inReplica.has(keyId) && !pending.has(keyId))
        out.push(`${shape.name} ${String(keyId)}: ${String(image)} shown, nothing agreed`);
  }
  return out;
}

/** Keys with change-log rows that are not acknowledged, by the file alone. */
function pendingKeys(live: DatabaseSync, log: string, shape: TableShape, access: RowAccess): Set<KeyId> {
  const status = live.prepare(`SELECT value FROM __marmot__status WHERE item = 'acknowledged' AND name = ?`);
  const acknowledged = (status.get(shape.name) as { value: number } | undefined)?.value ?? 0;
  const columns = exactKeyColumns(
    shape,
    shape.key.map((_, i) => `k${i + 1}`),
  );
  const rows = prepareExact(live, `SELECT v, ${columns} FROM ${quoteIdentifier(log)} WHERE id > ?`);
  const keys = new Set<KeyId>();
  for (const row of rows.all(acknowledged) as unknown as Value[][]) {
    const key = exactKey(shape, row, access.encoding, 1);
    if (row[0] === null || access.get(key) === null) keys.add(keyIdOf(shape, key));
  }
  return keys;
}
