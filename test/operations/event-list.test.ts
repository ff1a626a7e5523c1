/** The list of the last events, and the log lines beside it. */
import { expect, test } from "bun:test";
import { createLogger, type LoggedEvent } from "../../src/base/logger.ts";
import { EventList, MAX_EVENTS } from "../../src/operations/events/event-list.ts";

const event = (n: number): LoggedEvent => ({
  ...{ time: n, level: "info", kind: "peer", message: `event ${n}`, fields: {} },
});

test("the last 200, the newest first, with ids that go on", () => {
  const list = new EventList();
  for (let n = 1; n <= MAX_EVENTS + 50; n++) list.add(event(n));
  const all = list.list({ limit: 1000 });
  expect([all.length, all[0]!.id, all.at(-1)!.id]).toEqual([MAX_EVENTS, 250, 51]);
  expect(list.list({ limit: 2 }).map((e) => e.message)).toEqual(["event 250", "event 249"]);
  expect(list.list({ limit: 10, after: 248 }).map((e) => e.id)).toEqual([250, 249]);
  expect(list.list({ limit: 10, after: 250 })).toEqual([]);
});

test("an event is a line with fields: as text, and as JSON with its kind", () => {
  const lines: string[] = [];
  const listed: LoggedEvent[] = [];
  for (const format of ["text", "json"] as const) {
    const options = {
      level: "info",
      format,
      write: (l: string) => void lines.push(l),
      wallTime: () => 0,
    } as const;
    const logger = createLogger({ ...options, onEvent: (e) => void listed.push(e) });
    logger.child("shop").event("peer", "n3 is silent", { peer: "n3", big: 7n, hint: "start" }, "warn");
  }
  expect(lines[0]).toBe("1970-01-01T00:00:00.000Z warn  shop: n3 is silent hint=start");
  expect(JSON.parse(lines[1]!)).toEqual({
    ...{ time: "1970-01-01T00:00:00.000Z", level: "warn", scope: "shop", event: "peer" },
    ...{ message: "n3 is silent", peer: "n3", big: "7", hint: "start" },
  });
  expect(listed[1]).toMatchObject({ kind: "peer", level: "warn", fields: { peer: "n3", big: "7" } });
});

test("an event is listed also where the log leaves out its level", () => {
  const listed: LoggedEvent[] = [];
  const logger = createLogger({
    ...{ level: "error", format: "text", wallTime: () => 0 },
    write: () => expect.unreachable(),
    onEvent: (e) => void listed.push(e),
  });
  logger.event("ready", "ready after 1.0 s");
  expect(listed).toHaveLength(1);
});
