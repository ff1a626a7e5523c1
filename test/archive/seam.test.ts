/** The feed of a node whose history has lost its beginning: archive and history give each position once, and all of them. */
import { expect, test } from "bun:test";
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { showPosition } from "../../src/base/text/position-token.ts";
import { archivedChanges } from "../../src/node/backup/archive-changes.ts";
import { parseTarget } from "../../src/node/backup/archive-target.ts";
import { FeedPlace, latest } from "../../src/operations/changes/change-lines.ts";
import { BeforeHistory } from "../../src/operations/changes/history-place.ts";
import type { PastRange, PastSource } from "../../src/operations/changes/past-source.ts";
import { openPast, type PastParts } from "../../src/operations/changes/past-stream.ts";
import type { ChangeLine, ChangeStream } from "../../src/operations/changes-api.ts";
import { HistoryReader } from "../../src/replica/history/history-reader.ts";
import { openHistoryFile } from "../../src/replica/history/history-tables.ts";
import { HistoryWriter } from "../../src/replica/history/history-writer.ts";
import { CLUSTER, FakeLog, FakeNode, shipperOf, temporaryFolder, until } from "./lab.ts";

const ENTRIES = 40;

/** Positions of the events of a feed. */
async function positionsOf(stream: ChangeStream): Promise<string[]> {
  const found: string[] = [];
  for (;;) {
    const lines = await stream.next();
    if (lines === null) return found;
    for (const { kind, json, position } of lines) {
      if (kind === "end") throw new Error(json);
      if (position !== "") found.push(position);
    }
  }
}

test("a feed from each position of the archive has each later position once, also when the history moves on", async () => {
  const folder = temporaryFolder();
  const log = new FakeLog();
  const node = new FakeNode("one", log);
  const shipper = shipperOf(() => node, folder.path, { limits: { copyLinks: 6 } });
  const path = join(folder.path, "history.db");
  const db = openHistoryFile(path, CLUSTER);
  const reader = new HistoryReader(path);
  try {
    const writer = { limit: 1000, onFailure: () => {}, onCommit: () => {} };
    node.memory.replica.record(new HistoryWriter(db, node.positions(), writer));
    shipper.start();
    const write = async (from: number, to: number): Promise<void> => {
      for (let i = from; i <= to; i++) {
        log.write({ k: i % 9, v: `value ${i} ${"x".repeat(50)}` });
        node.apply();
        if (i % 3 === 0) await until(() => shipper.status.position === `c:${i}`, `entry ${i} is shipped`);
      }
    };
    await write(1, 1);
    await until(() => shipper.status.position === "c:1", "the archive begins");
    await write(2, ENTRIES - 1);
    await until(() => shipper.status.position === `c:${ENTRIES - 1}`, "all is shipped");
    expect(reader.reach.from[0]).toBeGreaterThan(10);

    let number = 0;
    let between = async (): Promise<void> => {};
    /** In this process. The real one runs the same beside the node. */
    const lines = async ({ since, until: end }: PastRange): ReturnType<PastSource["lines"]> => {
      const told: ChangeLine[] = [];
      const moment = parseTarget(since, null, 0);
      if (moment.kind !== "position") throw new Error(`${since} is no position`);
      const place = temporaryFolder();
      number++;
      await archivedChanges(
        {
          ...{
            source: join(folder.path, "archive"),
            keyFile: null,
            wanted: { kind: "since", since: moment },
          },
          ...{ until: [Number(end.slice(2))], tables: null, names: new Map(), folder: place.path },
          ...{ record: null, strict: true },
        },
        (line) => void told.push(line),
      );
      place.remove();
      await between();
      return { next: () => Promise.resolve(told.length === 0 ? null : [told.shift()!]), close: () => {} };
    };
    const parts: PastParts = {
      replicator: {} as PastParts["replicator"],
      history: { reader, isClosed: false },
      clock: systemClock,
      past: { to: "archive", lines, record: () => Promise.reject(new Error("not asked for")) },
      live: ({ id, position }) => {
        const place = new FeedPlace(position);
        let all = reader.after(id, 1000).filter((entry) => !place.isPast(entry));
        return {
          next: () => {
            if (all.length === 0) return Promise.resolve(null);
            const told = all.flatMap((entry) => place.take(entry, () => [{ kind: "transaction", body: "" }]));
            all = [];
            return Promise.resolve(told);
          },
          close: () => {},
        };
      },
    };
    const feed = async (since: string): Promise<string[]> =>
      positionsOf(await openPast(parts, new BeforeHistory(since, "it is before", ""), null));
    const expected = (after: number, last: number): string[] =>
      Array.from({ length: last - after }, (_, i) => showPosition([after + 1 + i]));
    for (let after = 1; after < reader.reach.from[0]!; after += 3)
      expect(await feed(`c:${after}`)).toEqual(expected(after, ENTRIES - 1));
    expect(latest([1, 5], [3, 2, 4])).toEqual([3, 5, 4]);

    // While the archive is read, the history loses the seam.
    const before = number;
    between = async () => {
      if (number - before > 1) return;
      await write(ENTRIES, 2 * ENTRIES);
      await until(() => shipper.status.position === `c:${2 * ENTRIES}`, "all is shipped");
    };
    expect(await feed("c:2")).toEqual(expected(2, 2 * ENTRIES));
    expect(number - before).toBe(2);
  } finally {
    await shipper.stop();
    reader.close();
    db.close();
    folder.remove();
  }
}, 60_000);
