/** The delivery rule alone, over every small set of logs: the result does not depend on the order in which logs are visited. */
import { describe, expect, test } from "bun:test";
import { mayApply, markersOf, type DeliverableEntry } from "../../../src/replica/order/delivery-rule.ts";

type Kind = Pick<DeliverableEntry, "after" | "names" | "marker">;
/** Per shard; the entry at place i has index i + 1. */
type Logs = readonly (readonly Kind[])[];

const plain: Kind = { after: [], names: [], marker: null };
const marker = (upTo: number): Kind => ({ ...plain, marker: upTo });
const names = (...shards: number[]): Kind => ({ ...plain, names: shards });
const after = (...vector: number[]): Kind => ({ ...plain, after: vector });

const view = (logs: Logs, position: readonly number[]) => ({
  position: (shard: number) => position[shard]!,
  next: (shard: number): DeliverableEntry | null => {
    const entry = logs[shard]![position[shard]!];
    return entry === undefined ? null : { ...entry, index: position[shard]! + 1 };
  },
});

/** The shards whose position advances when the next entry of `shard` is applied; null: it may not be applied. */
function step(logs: Logs, position: readonly number[], shard: number): number[] | null {
  const at = view(logs, position);
  const next = at.next(shard);
  if (next === null || !mayApply(shard, next, at)) return null;
  return [shard, ...(shard === 0 ? markersOf(next, at) : [])];
}

/**
 * Every reachable vector of positions, with the history of each shard there: its own entries and those of shard 0 that
 * name it, in order. Throws if two ways to one vector give different histories.
 */
function explore(logs: Logs): Map<string, string> {
  const reached = new Map<string, string>();
  const visit = (position: number[], histories: string[]): void => {
    const name = position.join();
    const history = histories.join("/");
    const known = reached.get(name);
    if (known !== undefined) {
      if (known !== history) throw new Error(`${JSON.stringify(logs)} at ${name}: ${known} and ${history}`);
      return;
    }
    reached.set(name, history);
    for (let shard = 0; shard < logs.length; shard++) {
      const moved = step(logs, position, shard);
      if (moved === null) continue;
      const next = position.map((p, s) => (moved.includes(s) ? p + 1 : p));
      const index = position[shard]! + 1;
      const { names: named } = logs[shard]![index - 1]!;
      const told = histories.map((h, s) => {
        if (s === shard) return `${h} ${index}`;
        return shard === 0 && named.includes(s) ? `${h} 0:${index}` : h;
      });
      visit(next, told);
    }
  };
  visit(
    logs.map(() => 0),
    logs.map(() => ""),
  );
  return reached;
}

const vectors = (reached: Map<string, string>): number[][] =>
  [...reached.keys()].map((name) => name.split(",").map(Number));
const greatest = (a: readonly number[], b: readonly number[]): number[] =>
  a.map((p, s) => Math.max(p, b[s]!));

function* sequences<T>(alphabet: readonly T[], length: number): Iterable<T[]> {
  if (length === 0) {
    yield [];
    return;
  }
  for (const rest of sequences(alphabet, length - 1)) for (const one of alphabet) yield [...rest, one];
}

/** Checks the properties that hold for all logs, even for those that no leader would write. */
function check(logs: Logs): number {
  const reached = explore(logs);
  const all = vectors(reached);
  for (const a of all)
    for (const b of all) {
      const both = greatest(a, b);
      const history = reached.get(both.join());
      if (history === undefined)
        throw new Error(
          `${JSON.stringify(logs)}: ${a.join()} and ${b.join()} are reached, ${both.join()} is not`,
        );
      // The part of a shard is that of the vector ahead there; at equal positions, of the vector ahead in shard 0.
      const parts = history.split("/");
      const [ofA, ofB] = [reached.get(a.join())!.split("/"), reached.get(b.join())!.split("/")];
      parts.forEach((part, s) => {
        const fromA = a[s]! !== b[s]! ? a[s]! > b[s]! : a[0]! >= b[0]!;
        if (part !== (fromA ? ofA : ofB)[s])
          throw new Error(
            `${JSON.stringify(logs)}: ${both.join()} is not made of ${a.join()} and ${b.join()}`,
          );
      });
    }
  return all.length;
}

/** Adds the markers that leaders would still write: for entries of shard 0 that name a shard without a marker there. */
function marked(logs: Logs): Logs {
  return logs.map((log, shard) => {
    if (shard === 0) return log;
    const wanted = logs[0]!.findLastIndex((e) => e.names.includes(shard)) + 1;
    return log.some((e) => (e.marker ?? 0) >= wanted) || wanted === 0 ? log : [...log, marker(wanted)];
  });
}

describe("over every small set of logs", () => {
  test("two shards with four entries each: every vector has one history, and the maximum of two vectors is reachable", () => {
    const first = [plain, names(1)];
    const second = [plain, marker(1), marker(2), marker(3), marker(4), after(2, 0)];
    let reached = 0;
    for (const a of sequences(first, 4)) for (const b of sequences(second, 4)) reached += check([a, b]);
    expect(reached).toBeGreaterThan(150_000);
  });

  test("three shards: every vector has one history, and the maximum of two vectors is reachable", () => {
    const first = [plain, names(1), names(2), names(1, 2)];
    const second = [plain, marker(1), marker(2), marker(3)];
    const third = [plain, marker(1), marker(2), after(1, 1)];
    for (const a of sequences(first, 3))
      for (const b of sequences(second, 2)) for (const c of sequences(third, 2)) check([a, b, c]);
  });

  test("no entry waits without end if markers are of committed entries and origins had reached their positions", () => {
    const first = [plain, names(1), names(2), names(1, 2)];
    let ends = 0;
    for (const a of sequences(first, 3))
      for (const early of [0, 1, 2, 3])
        for (const shard of [0, 1, 2]) {
          // A marker proposed early, when shard 0 had fewer entries, and then the other markers of the leaders.
          const wanted = (s: number): number =>
            a.slice(0, early).findLastIndex((e) => e.names.includes(s)) + 1;
          const log = (s: number): Kind[] => (wanted(s) > 0 ? [marker(wanted(s)), plain] : [plain]);
          const before: Logs = marked([a, log(1), log(2)]);
          // An origin at any reachable vector adds an entry at the end of any shard.
          for (const vector of vectors(explore(before))) {
            const logs = marked(before.map((l, s) => (s === shard ? [...l, after(...vector)] : l)));
            const end = logs.map((l) => l.length).join();
            if (!explore(logs).has(end)) throw new Error(`${JSON.stringify(logs)} never reaches ${end}`);
            ends++;
          }
        }
    expect(ends).toBeGreaterThan(1000);
  });
});

describe("markers", () => {
  const at = (logs: Logs): string[] => [...explore(logs).keys()];

  test("a marker serves several entries of shard 0, in log order", () => {
    const logs: Logs = [
      [names(1), names(1), plain],
      [plain, marker(2), plain],
    ];
    expect(at(logs)).toContain("1,1"); // applied, and still before the marker
    expect(at(logs)).not.toContain("0,2");
    expect(at(logs)).not.toContain("1,2");
    expect(at(logs)).toContain("3,3");
  });

  test("a marker below the entry's index does not deliver it, a later greater marker does", () => {
    const small: Logs = [[plain, names(1)], [marker(1)]];
    expect(at(small)).not.toContain("2,1");
    const both: Logs = [small[0]!, [marker(1), marker(2)]];
    expect(at(both)).toContain("2,2");
  });

  test("a late, repeated or smaller marker has no effect", () => {
    const logs: Logs = [[names(1)], [marker(1), marker(1), plain, marker(0)]];
    expect(at(logs)).toEqual(["0,0", "1,1", "1,2", "1,3", "1,4"]);
  });

  test("a marker waits until shard 0 has applied its entry", () => {
    const logs: Logs = [[plain], [marker(2), plain]];
    expect(at(logs)).toEqual(["0,0", "1,0"]);
  });

  test("the last marker of an entry is applied together with it", () => {
    const logs: Logs = [[names(1, 2)], [marker(1)], [marker(1)]];
    expect(at(logs)).toEqual(["0,0,0", "1,1,1"]);
  });
});
