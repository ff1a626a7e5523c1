import { expect, test } from "bun:test";
import { Random } from "../../src/base/random.ts";
import { BasePositions } from "../../src/change/base-positions.ts";

test("each unacknowledged log row keeps the position that was reflected when it was written", () => {
  for (let seed = 1; seed <= 200; seed++) {
    const random = new Random(seed);
    const bases = new BasePositions([1]);
    const truth = new Map<number, number>(); // log id ⇒ position reflected when it was written
    let newest = 0;
    let acknowledged = 0;
    let reflected = 1;
    for (let step = 0; step < 60; step++) {
      for (let writes = random.below(4); writes > 0; writes--) truth.set(++newest, reflected);
      if (random.chance(0.6)) {
        acknowledged = random.between(acknowledged, newest);
        reflected += random.below(3);
        const records = bases.advanced(1, [reflected], acknowledged, newest);
        bases.replace(1, records);
        bases.reflected = [reflected];
      }
      for (let id = acknowledged + 1; id <= newest; id++)
        expect([seed, id, bases.at(1, id)[0]]).toEqual([seed, id, truth.get(id)]);
      expect(bases.records(1).length).toBeLessThanOrEqual(newest - acknowledged + 2);
    }
  }
});

test("an id whose record was pruned by an acknowledgement has the oldest remaining position, not the newest", () => {
  const bases = new BasePositions([10]);
  bases.replace(1, bases.advanced(1, [11], 398, 400)); // rows 399, 400 at 10
  bases.reflected = [11];
  bases.replace(1, bases.advanced(1, [12], 400, 402)); // these are ordered; rows 401, 402 at 11
  bases.reflected = [12];
  expect(bases.at(1, 402)).toEqual([11]);
  // A key that was left with "from 400 on" when 399 was acknowledged, and has row 401.
  expect(bases.at(1, 400)).toEqual([11]);
  expect(bases.at(1, 403)).toEqual([12]);
});
