/** SQLite's WAL-reset bug: an application on an old SQLite, with pauses in its checkpoints, loses nothing beside a node. */
import { describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Built, buildApplication } from "../faults/race/build.ts";
import { race, raceAlone } from "../faults/race/race.ts";

const MS = 240_000;
const old = buildApplication("3.40.1");
const fixed = buildApplication("3.53.2");
const missing = [old, fixed].flatMap((built) => ("missing" in built ? [built.missing] : []));
const path = (built: Built): string => ("path" in built ? built.path : "");
const FAST = { seed: 1, autocheckpoint: 4, beforeLockUs: 3000, afterReadUs: 10_000 };

describe.skipIf(missing.length > 0)(
  `the WAL-reset bug${missing.map((why) => ` (left out: ${why})`).join("")}`,
  () => {
    test(
      "several connections of the application alone meet it: the pauses are where they must be",
      async () => {
        const folder = mkdtempSync(join(tmpdir(), "marmot-test-"));
        try {
          // A fixed version, so that nothing is damaged.
          const options = { ...FAST, application: path(fixed), connections: 3, commits: 500 };
          const { stale, strange } = await raceAlone(folder, options);
          expect(stale).toBeGreaterThan(0);
          expect(strange).toBe(0);
        } finally {
          rmSync(folder, { recursive: true });
        }
      },
      MS,
    );

    test(
      "one connection on SQLite 3.40.1 beside a node: no checkpoint has the WAL restarted under it, and no row is lost",
      async () => {
        const result = await race({ ...FAST, application: path(old), connections: 1, commits: 500 });
        expect(result.wrong).toEqual([]);
        expect(result.stale).toBe(0);
        expect(result.restarts).toBeGreaterThan(50);
      },
      MS,
    );

    test(
      "several connections beside a node: Marmot never restarts the WAL under a checkpoint",
      async () => {
        const result = await race({ ...FAST, application: path(fixed), connections: 3, commits: 200 });
        expect(result.wrong).toEqual([]);
        expect(result.strange).toBe(0);
      },
      MS,
    );
  },
);
