/**
 * The table without a declared key: the statements of applications, the routing of its rows, and the expected end. It
 * does not use the code of the replica: each row is an object that records which writers knew it.
 */
import type { Database } from "bun:sqlite";
import type { Random } from "../../src/base/random.ts";
import { Op, type PositionVector, type RowChange } from "../../src/change/batch.ts";
import { keyIdOf } from "../../src/change/key.ts";
import type { TableShape } from "../../src/change/shape.ts";

export const KEYLESS_SCHEMA = "CREATE TABLE note(uid TEXT, tag TEXT);";
/**
 * `uid` identifies a row for the application and never changes. Two nodes may write a row that a third node deleted
 * and whose rowid another row has taken. Then each has its own copy, and this lists the tags of all copies.
 */
export const KEYLESS_TAGS =
  " UNION ALL SELECT 'note/' || uid, group_concat(tag, ' ' ORDER BY rowid) FROM note GROUP BY uid";

/** `tag`: of this statement, on no other row. */
export function writeNote(db: Database, random: Random, node: number, tag: string): void {
  const run = (sql: string, ...values: (string | number)[]): void => void db.query(sql).run(...values);
  const highest = "WHERE rowid = (SELECT max(rowid) FROM note)";
  switch (random.below(12)) {
    case 0:
    case 1:
    case 2:
    case 3:
      return run("INSERT INTO note VALUES(?, ?)", tag, tag);
    case 4:
    case 5:
      return run(`UPDATE note SET tag = ? ${highest} AND uid LIKE '${node}.%'`, tag);
    case 6:
      return run(`DELETE FROM note ${highest} AND uid LIKE '${node}.%'`);
    case 7:
      // Its rowid is used again at once, by another row.
      run(`DELETE FROM note ${highest} AND uid LIKE '${node}.%'`);
      return run("INSERT INTO note VALUES(?, ?)", tag, tag);
    case 8:
      return run("UPDATE note SET tag = tag");
    case 9:
      return run(
        "INSERT OR REPLACE INTO note(rowid, uid, tag) VALUES(?, ?, ?)",
        random.between(-2, 5),
        tag,
        tag,
      );
    case 10:
      return run(`UPDATE note SET tag = ? ${highest}`, tag);
    default:
      return run(`DELETE FROM note ${highest}`);
  }
}

interface Place {
  readonly shard: number;
  readonly index: number;
  readonly origin: string;
}

/** The row that a rowid has, or had last. */
interface Slot {
  born: Place;
  written: Place;
  stands: boolean;
}

/** Where the order puts the rows of tables without a declared key. */
export class RowidOrder {
  readonly #slots = new Map<string, Slot>();
  readonly #highest = new Map<number, bigint>();

  /** The rows of a part that take effect, under their rowids; `moved`: one of them is not its writer's. */
  place(
    table: TableShape,
    rows: readonly RowChange[],
    bases: readonly PositionVector[],
    at: Place,
  ): { rows: RowChange[]; moved: boolean } {
    const out: RowChange[] = [];
    const name = (rowid: bigint): string => `${table.id}/${rowid}`;
    const own = rows.flatMap(({ image, key }) => (image === null ? [] : [key[0] as bigint]));
    let highest = [this.#highest.get(table.id) ?? 0n, ...own].reduce((a, b) => (b > a ? b : a));
    let moved = false;
    for (const row of rows) {
      const slot = this.#slots.get(name(row.key[0] as bigint));
      const knew = (other: Place): boolean =>
        other.origin === at.origin
          ? other.shard !== at.shard || other.index !== at.index
          : other.index <= (bases[row.base]?.[other.shard] ?? 0);
      const theirs =
        slot?.stands === true && (!knew(slot.born) || (row.op === Op.insert && !knew(slot.written)));
      if (theirs && row.image === null) continue;
      let placed = row;
      if (theirs) {
        moved = true;
        const key = [++highest];
        placed = {
          ...row,
          op: Op.insert,
          key,
          keyId: keyIdOf(table, key),
          image: row.image!.with(0, key[0]!),
        };
      }
      const known = this.#slots.get(name(placed.key[0] as bigint));
      const anew = placed.op === Op.insert && known?.stands !== true;
      const born = anew ? at : (known?.born ?? { shard: 0, index: 0, origin: "" });
      this.#slots.set(name(placed.key[0] as bigint), { born, written: at, stands: placed.image !== null });
      out.push(placed);
    }
    this.#highest.set(table.id, highest);
    return { rows: out, moved };
  }
}
