/** 10,000 hostile inputs against each reader of bytes from outside. More: scripts/fuzz.ts. */
import { expect, test } from "bun:test";
import { fuzz, TARGETS } from "./fuzz.ts";

for (const [name, make] of Object.entries(TARGETS))
  test(`${name}: 10,000 hostile inputs keep to the rule`, async () => {
    const found = await fuzz(make, 1, 10_000);
    if (found !== null) throw new Error(`input ${found.number}, ${found.input}`, { cause: found.error });
    expect(found).toBeNull();
  }, 120_000);
