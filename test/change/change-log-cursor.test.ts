/** The steps of change-log rows: drained, ordered, acknowledged, swept. */
import { describe, expect, test } from "bun:test";
import { ChangeLogCursor, ChangeLogCursors } from "../../src/change/change-log-cursor.ts";
import { KeyList } from "../../src/change/key-map.ts";

const state = ({ drained, ordered, acknowledged, swept }: ChangeLogCursor): number[] => [
  drained,
  ordered,
  acknowledged,
  swept,
];

/** The keys 1, 2, … of a table. */
function keys(table: number, count: number): KeyList {
  const list = new KeyList();
  for (let key = 1; key <= count; key++) list.add(table, key);
  return list;
}

describe("one table", () => {
  test("a cursor begins at the acknowledged id of the file", () => {
    expect(state(new ChangeLogCursor(7))).toEqual([7, 7, 7, 0]);
  });

  test("the ordered id of the session before is kept when the file is behind it, and not when it is ahead", () => {
    expect(state(new ChangeLogCursor(7, 9))).toEqual([7, 9, 7, 0]);
    expect(state(new ChangeLogCursor(7, 3))).toEqual([7, 7, 7, 0]);
  });

  test("the drained and the ordered id never fall, except that a restart drains again", () => {
    const cursor = new ChangeLogCursor(2);
    cursor.drainTo(9);
    cursor.drainTo(5);
    cursor.orderTo(6);
    cursor.orderTo(4);
    expect(state(cursor)).toEqual([9, 6, 2, 0]);
    cursor.restart("ordered");
    expect(cursor.drained).toBe(6);
    cursor.restart("acknowledged");
    expect(cursor.drained).toBe(2);
  });

  test("an acknowledgement covers everything ordered, and drains skip it after a restart from an older id", () => {
    const cursor = new ChangeLogCursor(0);
    cursor.drainTo(8);
    cursor.orderTo(8);
    cursor.restart("acknowledged");
    expect(cursor.acknowledge()).toBe(true);
    expect(state(cursor)).toEqual([8, 8, 8, 0]);
    expect(cursor.acknowledge()).toBe(false);
  });

  test("sweeping goes in steps up to the acknowledged id and never beyond", () => {
    const cursor = new ChangeLogCursor(0);
    cursor.orderTo(25);
    expect(cursor.sweep(10)).toBeNull();
    cursor.acknowledge();
    cursor.orderTo(99);
    expect([cursor.sweep(10), cursor.sweep(10), cursor.sweep(10), cursor.sweep(10)]).toEqual([
      10,
      20,
      25,
      null,
    ]);
  });
});

describe("all tables", () => {
  test("an acknowledgement names the tables with news and the keys of every ordered drain", () => {
    const cursors = new ChangeLogCursors([1, 2, 3], new Map([[2, 5]]));
    expect(cursors.waiting).toBe(false);
    const [first, second] = [keys(1, 2), keys(2, 1)];
    cursors.order([{ table: 1, upTo: 4 }], first);
    cursors.order([{ table: 2, upTo: 5 }], second);
    expect(cursors.waiting).toBe(true);
    const { tables, looked, committed } = cursors.acknowledge();
    expect(tables).toEqual([1]);
    expect(looked).toEqual([first, second]);
    expect([1, 2, 3].map((table) => cursors.of(table).acknowledged)).toEqual([4, 5, 0]);
    committed();
    expect(cursors.waiting).toBe(false);
  });

  test("a drain that is ordered while the transaction is open waits for the next one", () => {
    const cursors = new ChangeLogCursors([1], new Map());
    cursors.order([{ table: 1, upTo: 4 }], keys(1, 1));
    const { committed } = cursors.acknowledge();
    const late = keys(1, 3);
    cursors.order([{ table: 1, upTo: 6 }], late);
    committed();
    expect(cursors.of(1).acknowledged).toBe(4);
    expect(cursors.waiting).toBe(true);
    expect(cursors.acknowledge().looked).toEqual([late]);
  });

  test("a drain without a watermark, of a schema change, acknowledges nothing", () => {
    const cursors = new ChangeLogCursors([1], new Map());
    cursors.order([], keys(1, 1));
    expect(cursors.waiting).toBe(false);
  });

  test("the next session keeps ordered ids and keys to release, and forgets dropped tables", () => {
    const first = new ChangeLogCursors([1, 2], new Map());
    const looked = keys(1, 1);
    first.order(
      [
        { table: 1, upTo: 4 },
        { table: 2, upTo: 6 },
      ],
      looked,
    );
    const second = new ChangeLogCursors([1, 3], new Map([[1, 2]]), first);
    expect([1, 2, 3].map((table) => second.ordered(table))).toEqual([4, 0, 0]);
    expect(second.drained(1)).toBe(2);
    expect(second.acknowledge().looked).toEqual([looked]);
    // The transaction of the second session may fail: the first one still has everything.
    expect(first.waiting).toBe(true);
    expect(first.of(1).acknowledged).toBe(0);
  });

  test("a table that the session does not have yet is ordered all the same", () => {
    const first = new ChangeLogCursors([1], new Map());
    first.order([{ table: 9, upTo: 3 }], keys(9, 1));
    const second = new ChangeLogCursors([1, 9], new Map(), first);
    expect(second.ordered(9)).toBe(3);
    expect(second.acknowledge().tables).toEqual([9]);
  });

  test("after the end of an incarnation rows in flight are drained again, ordered ones are not", () => {
    const cursors = new ChangeLogCursors([1], new Map([[1, 1]]));
    cursors.of(1).drainTo(9);
    cursors.order([{ table: 1, upTo: 4 }], keys(1, 1));
    cursors.restart("ordered");
    expect(cursors.drained(1)).toBe(4);
    cursors.restart("acknowledged");
    expect(cursors.drained(1)).toBe(1);
  });
});
