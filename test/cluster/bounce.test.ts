import { expect, test } from "bun:test";
import { bounce } from "./bounce.ts";

/** `scripts/bounce.ts` sends 100,000. */
test("2,000 requests that go to another node each time read the user's last write", async () => {
  const { requests, stale, waited } = await bounce({ requests: 2000, users: 24, shards: 1 });
  expect(stale).toEqual([]);
  expect(requests).toBeGreaterThanOrEqual(2000);
  expect(waited).toBeGreaterThan(0);
}, 120_000);
