/**
 * A clean copy of the application's database at one position, from a replica that may be in use: the whole schema, the replicated rows,
 * nothing of Marmot. The replica's file is only read.
 */
import type { DatabaseSync } from "node:sqlite";
import { nextTurn } from "../../base/clock.ts";
import { UserError } from "../../base/errors.ts";
import { openDatabase } from "../../sqlite/open.ts";
import { integer, readRows, text } from "../../sqlite/typed-rows.ts";
import { readPositions } from "../store/positions.ts";
import type { ReplicaSettings } from "../store/settings.ts";
import { attachSource, openForFilling, removeDatabase } from "./database-files.ts";
import { orderSchema } from "./schema-order.ts";
import { fillApplication, readContents, type ReplicaContents } from "./fill-application.ts";

/** Attempts to begin two reads between the same commits of the replica. */
const ATTEMPTS = 1000;

export interface Exported {
  readonly settings: ReplicaSettings;
  readonly positions: readonly number[];
  /** Table ⇒ its rows. */
  readonly rows: Readonly<Record<string, number>>;
  /** Tables of the schema whose rows the replica does not have: they are empty. */
  readonly withoutRows: readonly string[];
}

/** Makes the file `target`, in journal mode DELETE. No file may be there. A failure leaves none. */
export async function exportReplica(
  replica: string,
  target: string,
  onProgress: (rows: number, table: string) => void = () => {},
): Promise<Exported> {
  const source = openDatabase(replica, { readOnly: true, timeout: 5000 });
  let db: DatabaseSync | null = null;
  try {
    source.exec("BEGIN");
    const { encoding } = readContents(source, replica).settings;
    source.exec("COMMIT");
    db = openForFilling(target, encoding);
    attachSource(db, replica);
    const contents = await oneMoment(source, db, replica);
    const filled = await fillApplication(db, contents, { onProgress, keepsUnfilled: true });
    orderSchema(db, contents.objects);
    db.exec("COMMIT; DETACH source");
    const exported = {
      ...contents,
      rows: filled.rows,
      withoutRows: withoutRows(db, contents, filled.unfilled),
    };
    db.close();
    return exported;
  } catch (error) {
    db?.close();
    removeDatabase(target);
    throw error;
  } finally {
    source.close();
  }
}

/** Begins a transaction in `db` whose view of the attached source is that of the returned contents. */
async function oneMoment(source: DatabaseSync, db: DatabaseSync, replica: string): Promise<ReplicaContents> {
  const attached = db.prepare(`SELECT "idx" FROM source."__marmot__position" ORDER BY "shard"`);
  for (let i = 0; i < ATTEMPTS; i++) {
    source.exec("BEGIN");
    db.exec("BEGIN");
    const here = readPositions(source);
    const there = readRows(attached.all(), { idx: integer }).map(({ idx }) => idx);
    if (here.every((index, shard) => index === there[shard])) {
      const contents = readContents(source, replica);
      source.exec("COMMIT");
      return contents;
    }
    source.exec("COMMIT");
    db.exec("COMMIT");
    await nextTurn();
  }
  throw new UserError("the replica changes too fast to be copied now", "try again in a moment");
}

function withoutRows(
  db: DatabaseSync,
  { objects }: ReplicaContents,
  unfilled: readonly string[],
): readonly string[] {
  // Without the tables in which a virtual table keeps its content.
  const tables = db
    .prepare(`SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table'`)
    .all();
  const made = new Set([...unfilled, ...readRows(tables, { name: text }).map((t) => t.name)]);
  return objects.flatMap((o) =>
    o.kind === "table" && o.tableId === null && made.has(o.name) ? [o.name] : [],
  );
}
