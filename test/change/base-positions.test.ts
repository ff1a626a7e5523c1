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
