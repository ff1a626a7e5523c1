/**
 * Each deviation of an application's file from the replica with the unacknowledged rows on top, by a full comparison.
 * Valid only right after a transaction of Marmot in the file.
 */
import type { DatabaseSync, StatementSync } from "node:sqlite";
import type { AppDbSession } from "../../src/app-db/session.ts";
import { readCaptured } from "../../src/capture/install.ts";
import { type KeyId, keyIdOf, keyIdOfImage } from "../../src/change/key.ts";
import type { TableShape } from "../../src/change/shape.ts";
import { type Image, imageEqual, type Value } from "../../src/change/value.ts";
import type { Replica } from "../../src/replica/replica.ts";
import { exactRows, exactRowsStatement } from "../../src/rows/exact-rows.ts";
import { exactKey, exactKeyColumns, type ExactStatement, prepareExact } from "../../src/rows/exact-values.ts";
import { RowAccess } from "../../src/rows/row-access.ts";
import { quoteIdentifier } from "../../src/sqlite/quote.ts";

export interface DeviationInput {
  readonly appDb: DatabaseSync;
  readonly replica: DatabaseSync;
  readonly shapes: Iterable<TableShape>;
  readonly encoding: string;
  /**
   * The row is withheld, and the application has written since Marmot's last commit: the clash may have ended, and the
   * row returns with the next commit.
   */
  readonly returnsLater: (table: TableShape, keyId: KeyId) => boolean;
  readonly session: Pick<AppDbSession, "pending" | "bases" | "withheld">;
  readonly source: Pick<Replica, "isOtherRow">;
}

/** Without a declared key: the row of the replica is hidden by a pending row that has nothing to do with it. */
function isHidden(
  { session, source }: DeviationInput,
  { id }: TableShape,
  keyId: KeyId,
  image: Image,
): boolean {
  const { pending, bases, withheld } = session;
  const row = pending.get(id, keyId);
  if (row === undefined) return false;
  const base = withheld.get(id, keyId)?.position ?? bases.at(id, row.minId);
  return source.isOtherRow(id, keyId, [image[0]!], base);
}

/** Statements are expensive to prepare, and a simulated file is compared many times. */
interface Kept {
  readonly rows: ExactStatement;
  access: RowAccess | null;
  pending: { readonly log: string; readonly rows: StatementSync } | null;
}

const kept = new WeakMap<DatabaseSync, WeakMap<TableShape, Kept>>();

function keptOf(db: DatabaseSync, shape: TableShape): Kept {
  let tables = kept.get(db);
  if (tables === undefined) kept.set(db, (tables = new WeakMap()));
  let found = tables.get(shape);
  if (found === undefined)
    tables.set(shape, (found = { rows: exactRowsStatement(db, shape), access: null, pending: null }));
  return found;
}

export function deviations(input: DeviationInput): string[] {
  const { appDb, replica, shapes, encoding, returnsLater } = input;
  const out: string[] = [];
  const logs = readCaptured(appDb)!;
  const rowsOf = (db: DatabaseSync, shape: TableShape): Map<KeyId, Image> => {
    const rows = exactRows(db, shape, encoding, keptOf(db, shape).rows);
    return new Map(rows.map((image) => [keyIdOfImage(shape, image), image]));
  };
  for (const shape of shapes) {
    const inLive = rowsOf(appDb, shape);
    const inReplica = rowsOf(replica, shape);
    const log = logs.find((c) => c.id === shape.id)!.log;
    const access = (keptOf(appDb, shape).access ??= new RowAccess(appDb, shape, encoding));
    const pending = pendingKeys(appDb, log, shape, access);
    for (const [keyId, image] of inReplica) {
      if (pending.has(keyId)) {
        if (shape.rowidKey && isHidden(input, shape, keyId, image))
          out.push(`${shape.name} ${String(keyId)}: an own row hides ${String(image)}`);
        continue;
      }
      const shown = inLive.get(keyId);
      if (shown !== undefined && imageEqual(shown, image)) continue;
      const clashes = access.clashes(image).some((key) => pending.has(keyIdOf(shape, key)));
      if (shown === undefined && clashes) continue; // withheld
      if (shown === undefined && returnsLater(shape, keyId)) continue;
      out.push(`${shape.name} ${String(keyId)}: ${String(shown)} shown, ${String(image)} agreed`);
    }
    for (const [keyId, image] of inLive)
      if (!inReplica.has(keyId) && !pending.has(keyId))
        out.push(`${shape.name} ${String(keyId)}: ${String(image)} shown, nothing agreed`);
  }
  return out;
}

/** Keys with unacknowledged change-log rows, as the file shows them. */
function pendingKeys(appDb: DatabaseSync, log: string, shape: TableShape, access: RowAccess): Set<KeyId> {
  const own = keptOf(appDb, shape);
  if (own.pending?.log !== log) {
    const columns = exactKeyColumns(
      shape,
      shape.key.map((_, i) => `k${i + 1}`),
    );
    const acknowledged = `SELECT value FROM __marmot__status WHERE item = 'acknowledged' AND name = ?`;
    const rows = prepareExact(
      appDb,
      `SELECT v, ${columns} FROM ${quoteIdentifier(log)} WHERE id > coalesce((${acknowledged}), 0)`,
    );
    own.pending = { log, rows };
  }
  const keys = new Set<KeyId>();
  for (const row of own.pending.rows.all(shape.name) as unknown as Value[][]) {
    const key = exactKey(shape, row, access.encoding, 1);
    if (row[0] === null || access.get(key) === null) keys.add(keyIdOf(shape, key));
  }
  return keys;
}
