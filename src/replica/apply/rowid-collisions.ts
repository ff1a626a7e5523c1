/**
 * Tables without a declared key: SQLite assigns rowids, and two nodes may assign the same one. An incoming row collides if
 * another node inserted the stored row and the incoming change's base does not include that insert. Then a delete is
 * ignored, and an image is written under a rowid that no row ever had. The origin is told of such a redirected rowid, so
 * that it redirects its own row too. Replicated state.
 */
import type { DatabaseSync } from "node:sqlite";
import { Op, type PositionVector, type RowChange } from "../../change/batch.ts";
import type { RedirectedRow } from "../../change/changed-rows.ts";
import { type KeyId, keyIdOf } from "../../change/key.ts";
import type { RowAccess } from "../../rows/row-access.ts";
import { arraysLazily, lazily, type LazyStatement } from "../../sqlite/lazy.ts";
import { type ChangesetContext, covers, type LastWrite, unseenWrite } from "./changeset.ts";
import type { KeyPositions } from "./key-positions.ts";
import { RedirectedRowids } from "./redirected-rowids.ts";
import { RowidAllocator } from "./rowid-allocator.ts";
import { trusted } from "../../sqlite/typed-rows.ts";

export class RowidCollisions {
  readonly #peer: number;
  readonly #keyPositions: KeyPositions;
  readonly #allocator: RowidAllocator;
  readonly #redirected: RedirectedRowids;
  readonly #selectCreation: LazyStatement;
  readonly #upsertCreation: LazyStatement;
  /** A row of the changeset that is being applied got another rowid. */
  hasRedirected = false;

  /** `peer`: this node's hash. */
  constructor(db: DatabaseSync, peer: number, keyPositions: KeyPositions) {
    this.#peer = peer;
    this.#keyPositions = keyPositions;
    this.#redirected = new RedirectedRowids(db, peer);
    this.#allocator = new RowidAllocator(
      db,
      (table, keyId) => (keyPositions.last(table, keyId) ?? this.#creation(table, keyId)) !== null,
    );
    this.#selectCreation = arraysLazily(
      db,
      `SELECT "shard", "idx", "origin" FROM "__marmot__birth" WHERE "tbl" = ? AND "key" = ?`,
    );
    this.#upsertCreation = lazily(db, `INSERT OR REPLACE INTO "__marmot__birth" VALUES(?, ?, ?, ?, ?)`);
  }

  /** Own rows that the app database does not have under their new rowids yet. */
  get pending(): readonly RedirectedRow[] {
    return this.#redirected.pending;
  }

  /** After a start: the app database reflects `position`. */
  recall(position: PositionVector): void {
    this.#redirected.recall(position);
  }

  /** The app database reflects `position`. */
  reflected(position: PositionVector): void {
    this.#redirected.reflected(position);
  }

  /** The table was dropped. */
  forgetTable(table: number): void {
    this.#allocator.forgetTable(table);
    this.#redirected.forgetTable(table);
  }

  /** A changeset is taken. */
  begin(context: ChangesetContext): void {
    this.hasRedirected = false;
    this.#redirected.dropShown(context);
  }

  /** The rows of one part as they go into the replica, without the deletes that are ignored. */
  place(access: RowAccess, rows: readonly RowChange[], context: ChangesetContext): RowChange[] {
    const table = access.shape.id;
    this.#allocator.highest(access); // before the first of its rows is deleted
    for (const { key, image } of rows) if (image !== null) this.#allocator.use(access, key[0] as bigint);
    const placed: RowChange[] = [];
    for (const row of rows) {
      if (!this.#collides(access, row, context)) {
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
      this.#allocator.use(access, to);
      this.#setCreation(table, keyId, context);
      this.hasRedirected = true;
      this.#redirected.add({ table, from, to, shard: context.shard, index: context.index }, context);
    }
    return placed;
  }

  /** The stored row of the rowid is another row. Records the creation position of a row under a free rowid. */
  #collides(access: RowAccess, row: RowChange, context: ChangesetContext): boolean {
    const table = access.shape.id;
    const base = context.bases[row.base];
    const creation = this.#creation(table, row.keyId);
    // A row of this very changeset was redirected to this rowid: a changeset has each rowid once.
    const isRedirectedHere = creation?.shard === context.shard && creation.index === context.index;
    const isForeign = isRedirectedHere || creation?.origin !== context.origin;
    let collides = creation !== null && !covers(base, creation) && isForeign;
    if (!collides && row.op !== Op.insert) return false;
    if (access.get(row.key) === null) {
      if (row.op === Op.insert) this.#setCreation(table, row.keyId, context);
      return false;
    }
    if (!collides) {
      // The writer found no row here: a stored row that it had not seen is another one too.
      const last = this.#keyPositions.last(table, row.keyId);
      collides = unseenWrite(last, base, context) !== null;
    }
    return collides;
  }

  /**
   * The stored row is another row than the one that a pending change of this node is about: the change will be redirected
   * when it is ordered, unless that row is deleted before. `base`: of the change; `isInsert`: its writer found no row.
   */
  isOther(
    access: RowAccess,
    row: Pick<RowChange, "key" | "keyId">,
    base: PositionVector,
    isInsert: boolean,
  ): boolean {
    if (access.get(row.key) === null) return false;
    const table = access.shape.id;
    const creation = this.#creation(table, row.keyId);
    const own = { origin: this.#peer };
    if (unseenWrite(creation, base, own) !== null) return true;
    return isInsert && unseenWrite(this.#keyPositions.last(table, row.keyId), base, own) !== null;
  }

  /** Where the row of the key was inserted; null: the row is older than the replica. */
  #creation(table: number, keyId: KeyId): LastWrite | null {
    const row = trusted<[number, number, number] | undefined>(this.#selectCreation.get(table, keyId));
    return row === undefined ? null : { shard: row[0], index: row[1], origin: row[2] };
  }

  #setCreation(table: number, keyId: KeyId, { shard, index, origin }: ChangesetContext): void {
    this.#upsertCreation.run(table, keyId, shard, index, origin);
  }

  /** See `RowidAllocator.free`. */
  free(access: RowAccess, used: (rowid: bigint) => boolean, above = 0n): bigint {
    return this.#allocator.free(access, used, above);
  }

  /** Stores the changes, in the transaction of the rows. */
  flush(): void {
    this.#allocator.flush();
  }
}
