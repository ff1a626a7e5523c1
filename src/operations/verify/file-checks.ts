/** Answers peers that run `marmot verify`: this node compares its own file with its replica, and tells the result. */
import type { Clock } from "../../base/clock.ts";
import { errorMessage } from "../../base/errors.ts";
import type { FileCheck } from "../../replication/messages/control-messages.ts";
import type { Replicator } from "../../replication/replicator.ts";
import { compareFile, damageOf, differenceOf } from "./compare-file.ts";

/** Differences that one answer names. */
const NAMED = 100;
/** Characters of a key in an answer. */
const KEY_LENGTH = 200;
/** Comparisons whose results are kept. */
const KEPT = 16;

/** Comparisons run one after the other. A note that is known gets its state again. */
export function fileChecks(replicator: Replicator, clock: Clock): (note: string) => FileCheck {
  const checks = new Map<string, FileCheck>();
  let last: Promise<void> = Promise.resolve();
  const run = async (note: string): Promise<void> => {
    try {
      const { rows, found, damages } = await compareFile({ replicator, clock }, (done) =>
        checks.set(note, { ...COMPARING, rows: done }),
      );
      const all = [...damages.map((d) => damageOf("", d)), ...found.map((row) => differenceOf("", row))];
      const differences = all.slice(0, NAMED).map(({ table, key, detail }) => {
        return { table, key: key.slice(0, KEY_LENGTH), detail };
      });
      checks.set(note, { state: "compared", rows, different: all.length, differences, reason: "" });
    } catch (error) {
      checks.set(note, { ...COMPARING, state: "failed", reason: errorMessage(error) });
    }
  };
  return (note) => {
    const known = checks.get(note);
    if (known !== undefined) return known;
    for (const old of checks.keys()) if (checks.size >= KEPT) checks.delete(old);
    checks.set(note, COMPARING);
    last = last.then(() => run(note));
    return COMPARING;
  };
}

const COMPARING: FileCheck = { state: "comparing", rows: 0, different: 0, differences: [], reason: "" };
