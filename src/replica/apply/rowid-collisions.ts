/**
 * Tables without a declared key: SQLite picks their rowids, and two nodes pick the same. A row that comes is another one than
 * the replica has under its rowid if that was born elsewhere, unknown to its writer. Then a delete is ignored, and an image
 * goes in under a rowid that no row ever had; its origin is told, so that it leads its own row there, too. Replicated state.
 */
import type { DatabaseSync, StatementSync } from "node:sqlite";
import { Op, type PositionVector, type RowChange } from "../../change/batch.ts";
import type { RedirectedRow } from "../../change/changed-rows.ts";
import { type KeyId, keyIdOf } from "../../change/key.ts";
import { prepareExact, type RowAccess } from "../../rows/row-access.ts";
import { quoteIdentifier } from "../../sqlite/quote.ts";
import type { ChangesetContext, LastWrite } from "./row-applier.ts";
import { lazily, type LazyStatement } from "../../sqlite/lazy.ts";

const MAX_ROWID = 2n ** 63n - 1n;

export class RowidCollisions {
  readonly #peer: number;
  readonly #selectCreation: StatementSync;
  readonly #selectKey: StatementSync;
  readonly #upsertCreation: LazyStatement;
  readonly #storeHighest: LazyStatement;
  readonly #insertMoved: LazyStatement;
  readonly #dropMoved: LazyStatement;
  readonly #selectMoved: StatementSync;
  readonly #db: DatabaseSync;
  readonly #highest = new Map<number, bigint>();
  readonly #dirty = new Set<number>();
  /** "origin/shard" of rows that are noted for their origin. */
  readonly #noted = new Set<string>();
  #moved: RedirectedRow[] = [];
  /** What the live file reflects: more than the replica holds, while that is applied again after a power cut. */
  #reflected: PositionVector = [];
  /** A row of the changeset that is being applied went in under another rowid. */
  hasMoved = false;

  /** `peer`: this node's hash. */
  constructor(db: DatabaseSync, peer: number) {
    this.#db = db;
    this.#peer = peer;
    const select = (table: string): StatementSync => {
      const statement = db.prepare(
        `SELECT "shard", "idx", "origin" FROM "__marmot__${table}" WHERE "tbl" = ? AND "key" = ?`,
      );
      statement.setReturnArrays(true);
      return statement;
    };
    this.#selectCreation = select("birth");
    this.#selectKey = select("key");
    this.#upsertCreation = lazily(db, `INSERT OR REPLACE INTO "__marmot__birth" VALUES(?, ?, ?, ?, ?)`);
    this.#storeHighest = lazily(db, `INSERT OR REPLACE INTO "__marmot__rowid" VALUES(?, ?)`);
    this.#insertMoved = lazily(db, `INSERT INTO "__marmot__moved" VALUES(?, ?, ?, ?, ?, ?)`);
    this.#dropMoved = lazily(
      db,
      `DELETE FROM "__marmot__moved" WHERE "origin" = ? AND "shard" = ? AND "idx" <= ?`,
    );
    this.#selectMoved = prepareExact(
      db,
      `SELECT "tbl", "from_rowid", "to_rowid", "shard", "idx" FROM "__marmot__moved" WHERE "origin" = ?`,
    );
    const highest = prepareExact(db, `SELECT "tbl", "highest" FROM "__marmot__rowid"`);
    for (const [table, rowid] of highest.all() as unknown as [bigint, bigint][])
      this.#highest.set(Number(table), rowid);
    const noted = prepareExact(db, `SELECT DISTINCT "origin", "shard" FROM "__marmot__moved"`);
    for (const [origin, shard] of noted.all() as unknown as [bigint, bigint][])
      this.#noted.add(`${origin}/${shard}`);
  }

  /** Own rows that the live file does not show where they are. */
  get moved(): readonly RedirectedRow[] {
    return this.#moved;
  }

  /** After a start: the live file reflects `reflected`. */
  recall(reflected: PositionVector): void {
    const rows = this.#selectMoved.all(this.#peer) as unknown as [bigint, bigint, bigint, bigint, bigint][];
    this.#moved = rows.map(([table, from, to, shard, index]) => ({
      ...{ table: Number(table), from, to },
      ...{ shard: Number(shard), index: Number(index) },
    }));
    this.shown(reflected);
  }

  /** The live file reflects `reflected`. */
  shown(reflected: PositionVector): void {
    this.#reflected = reflected;
    if (this.#moved.length > 0) this.#moved = this.#moved.filter((moved) => this.#isDue(moved));
  }

  #isDue({ shard, index }: RedirectedRow): boolean {
    return index > (this.#reflected[shard] ?? 0);
  }

  /** The table is gone. */
  forgetTable(table: number): void {
    this.#highest.delete(table);
    this.#dirty.delete(table);
    this.#moved = this.#moved.filter((moved) => moved.table !== table);
  }

  /** A changeset is taken. What its writer's file showed was synced before it left, so that need not be told any more. */
  begin({ origin, shard, bases }: ChangesetContext): void {
    this.hasMoved = false;
    if (bases.length === 0 || !this.#noted.has(`${origin}/${shard}`)) return;
    this.#dropMoved.run(origin, shard, Math.max(...bases.map((base) => base[shard] ?? 0)));
  }

  /** The rows of one part as they go into the replica; deletes that are ignored are left out. */
  place(access: RowAccess, rows: readonly RowChange[], context: ChangesetContext): RowChange[] {
    const table = access.shape.id;
    this.#highestOf(access); // before the first of its rows can go
    for (const { key, image } of rows) if (image !== null) this.#use(access, key[0] as bigint);
    const placed: RowChange[] = [];
    for (const row of rows) {
      if (!this.#isAnother(access, row, context)) {
        placed.push(row);
        continue;
      }
      if (row.image === null) continue;
      const from = row.key[0] as bigint;
      const to = this.free(access, (rowid) => rows.some(({ key }) => key[0] === rowid));
      const key = [to];
      const keyId = keyIdOf(access.shape, key);
      const image = row.image.with(0, to);
      placed.push({ ...row, op: Op.insert, mask: null, key, keyId, image });
      this.#use(access, to);
      this.#bear(table, keyId, context);
      this.#note({ table, from, to, shard: context.shard, index: context.index }, context);
    }
    return placed;
  }

  /** The row that stands under the rowid is another one. Notes where a row that comes under a free one is born. */
  #isAnother(access: RowAccess, row: RowChange, context: ChangesetContext): boolean {
    const table = access.shape.id;
    const base = context.bases[row.base];
    const unseen = ({ shard, index }: LastWrite): boolean => index > (base?.[shard] ?? 0);
    const birth = this.#read(this.#selectCreation, table, row.keyId);
    // Of the very same changeset, it was led here: each rowid of its own comes once.
    const ledHere = birth?.shard === context.shard && birth.index === context.index;
    let another = birth !== null && unseen(birth) && (ledHere || birth.origin !== context.origin);
    if (!another && row.op !== Op.insert) return false;
    if (access.get(row.key) === null) {
      if (row.op === Op.insert) this.#bear(table, row.keyId, context);
      return false;
    }
    if (!another) {
      // Its writer found no row here: one that came back unknown to it is another, too.
      const last = this.#read(this.#selectKey, table, row.keyId);
      another = last !== null && last.origin !== context.origin && unseen(last);
    }
    return another;
  }

  #read(select: StatementSync, table: number, keyId: KeyId): LastWrite | null {
    const row = select.get(table, keyId) as unknown as [number, number, number] | undefined;
    return row === undefined ? null : { shard: row[0], index: row[1], origin: row[2] };
  }

  #bear(table: number, keyId: KeyId, { shard, index, origin }: ChangesetContext): void {
    this.#upsertCreation.run(table, keyId, shard, index, origin);
  }

  #note(moved: RedirectedRow, { origin, shard, index, own }: ChangesetContext): void {
    this.hasMoved = true;
    this.#noted.add(`${origin}/${shard}`);
    this.#insertMoved.run(origin, shard, index, moved.table, moved.from, moved.to);
    if (own && this.#isDue(moved)) this.#moved.push(moved);
  }

  #highestOf(access: RowAccess): bigint {
    const { id, name, columns } = access.shape;
    let highest = this.#highest.get(id);
    if (highest === undefined) {
      const sql = `SELECT max(${quoteIdentifier(columns[0]!.name)}) FROM main.${quoteIdentifier(name)}`;
      const [top] = prepareExact(this.#db, sql).get() as unknown as [bigint | null];
      highest = top ?? 0n;
      this.#raise(id, highest);
    }
    return highest;
  }

  #raise(table: number, rowid: bigint): void {
    this.#highest.set(table, rowid);
    this.#dirty.add(table);
  }

  #use(access: RowAccess, rowid: bigint): void {
    if (rowid > this.#highestOf(access)) this.#raise(access.shape.id, rowid);
  }

  /**
   * A rowid above all that the table's rows ever had, and above `above`. Where there is none any more, as when an
   * application inserts the highest there is, one that no row ever had and `used` does not name.
   */
  free(access: RowAccess, used: (rowid: bigint) => boolean, above = 0n): bigint {
    const highest = this.#highestOf(access);
    const top = highest > above ? highest : above;
    if (top < 0n) return 1n;
    if (top < MAX_ROWID) return top + 1n;
    const { id, name } = access.shape;
    for (let attempt = 0n; ; attempt++) {
      const rowid = (Bun.hash.xxHash64(`${id}/${name}`, attempt) & (MAX_ROWID >> 1n)) + 1n;
      const keyId = keyIdOf(access.shape, [rowid]);
      const known = this.#read(this.#selectKey, id, keyId) ?? this.#read(this.#selectCreation, id, keyId);
      if (known === null && !used(rowid) && access.get([rowid]) === null) return rowid;
    }
  }

  /** Writes what changed; inside the transaction of the rows. */
  flush(): void {
    for (const table of this.#dirty) this.#storeHighest.run(table, this.#highest.get(table)!);
    this.#dirty.clear();
  }
}
