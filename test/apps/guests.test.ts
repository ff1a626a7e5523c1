/** A few applications as their projects ship them; scripts/apps.ts plays all of them. */
import { describe, expect, test } from "bun:test";
import { GUESTS } from "./guests/guests.ts";
import { play } from "./guests/story.ts";

/** Name and shards. */
const QUICK = [
  ["sqlite-utils", 16],
  ["langgraph", 1],
  ["huey", 1],
] as const;

for (const [name, shards] of QUICK) {
  const guest = GUESTS.find((one) => one.name === name)!;
  const installed = await guest.install();
  const { missing } = installed;
  describe.skipIf(missing !== null)(missing === null ? name : `${name} (skipped: ${missing})`, () => {
    test(`writes while a node is killed, and is the same everywhere, ${shards} shards`, async () => {
      expect(await play(guest, installed.folder!, shards)).toBeGreaterThan(0);
    }, 240_000);
  });
}
