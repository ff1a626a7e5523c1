/**
 * At the end of a run: the history of each node against its replica, states of the conflict journal, and an undo that is itself undone.
 */
import { Random } from "../../src/base/random.ts";
import { hasReached, parsePosition, showPosition } from "../../src/base/text/position-token.ts";
import { decodeImage, encodeImage } from "../../src/change/codec.ts";
import { keyIdOfImage, keyOfImage } from "../../src/change/key.ts";
import type { TableShape } from "../../src/change/shape.ts";
import type { Value } from "../../src/change/value.ts";
import type { ConflictSummary } from "../../src/operations/api.ts";
import type { UndoResult } from "../../src/operations/changes-api.ts";
import { showKey } from "../../src/operations/literals.ts";
import type { PastEntry } from "../../src/replica/history/history-reader.ts";
import { peerHash } from "../../src/replica/store/tables.ts";
import type { Replicator } from "../../src/replication/replicator.ts";
import type { Plan } from "./plan.ts";
import type { SimNode } from "./sim-node.ts";
import type { World } from "./world.ts";

/** Simulated milliseconds for a call and its effects on all nodes. */
const CALL_MS = 90_000;
const IDLE_STEPS = 10_000;
const SALT = 0x70617374;

export interface PastRun {
  readonly plan: Plan;
  readonly present: readonly SimNode[];
  readonly problems: string[];
  readonly world: World;
  readonly isSettled: () => boolean;
}

/** A row of the history: hexadecimal images. */
interface Change {
  readonly shard: number;
  readonly index: number;
  readonly origin: number;
  readonly before: string | null;
  readonly after: string | null;
}

interface PastRow {
  readonly shape: TableShape;
  readonly key: readonly Value[];
  /** How results of an undo call it. */
  readonly shown: string;
  readonly changes: Change[];
}

export class Past {
  readonly #run: PastRun;
  readonly #random: Random;

  constructor(run: PastRun) {
    this.#run = run;
    this.#random = new Random(run.plan.seed ^ SALT);
  }

  async judge(): Promise<void> {
    const { present, problems, plan } = this.#run;
    for (const node of present) problems.push(...wrongHistory(node));
    // Undone rows of a generated schema meet its constraints; rows of an older schema stay.
    const { generated, actions } = plan;
    if (generated !== undefined || actions.some(({ action }) => action.kind === "migrate")) return;
    if (problems.length === 0) await this.#settleConflicts();
    if (problems.length === 0) await this.#undo();
  }

  async #settleConflicts(): Promise<void> {
    const { present, problems } = this.#run;
    const open = conflictsOf(present[0]!).filter((c) => c.state === "open");
    const [dismissed, restored] = [open[0], open[1]];
    if (dismissed === undefined) return;
    const [a, b] = [this.#random.pick(present), this.#random.pick(present)];
    await this.#call(a, a.node!.api.dismiss(dismissed.id));
    const done =
      restored === undefined
        ? null
        : await this.#call(b, b.node!.api.restore(restored.id, { asNew: false, overwrite: true }), true);
    await this.#rest();
    const wanted = new Map([[dismissed.id, `dismissed ${a.peerId}`]]);
    if (done !== null && restored !== undefined) wanted.set(restored.id, `restored ${b.peerId}`);
    for (const node of present) {
      const all = conflictsOf(node);
      for (const [id, state] of wanted) {
        const found = all.find((c) => c.id === id);
        const has = `${found?.state ?? "gone"} ${found?.settled?.peer ?? "by no one"}`;
        if (has !== state) problems.push(`conflict ${id} is ${has} on ${node.name}, expected ${state}`);
      }
      const others = all.filter((c) => !wanted.has(c.id) && open.some((o) => o.id === c.id));
      for (const { id, state } of others)
        if (state !== "open") problems.push(`conflict ${id} is ${state} on ${node.name}, and was left open`);
    }
  }

  async #undo(): Promise<void> {
    const node = this.#random.pick(this.#run.present);
    const member = node.member!;
    const entries = entriesOf(member);
    const places = entries.filter((e) => e.last);
    if (places.length === 0) return;
    const { position: since } = this.#random.pick(places);
    const by = this.#random.chance(0.5) ? null : this.#random.pick(this.#run.present);
    const from = parsePosition(since)!;
    const later = entries.filter((e) => e.index > (from[e.shard] ?? 0));
    const rows = [...rowsIn(member, later).values()];
    const start = showPosition(member.replica.replica.positions());
    const chosen = { position: null, table: null, force: false, dryRun: false };
    const undone = await this.#call(
      node,
      node.node!.api.undo({ ...chosen, since, origin: by?.peerId ?? null }),
    );
    await this.#rest();
    const origin = by === null ? null : peerHash(by.peerId);
    this.#compare(undone, rows, (row) => wantedOf(row, origin));
    if (this.#run.problems.length > 0) return;
    const redone = await this.#call(node, node.node!.api.undo({ ...chosen, since: start, origin: null }));
    await this.#rest();
    this.#compare(redone, rows, ({ changes }) => changes.at(-1)!.after);
  }

  /** Rows that the undo left are what they were. */
  #compare(
    undone: UndoResult | null,
    rows: readonly PastRow[],
    wanted: (row: PastRow) => string | null,
  ): void {
    if (undone === null) return;
    const left = new Set(undone.left.map(({ table, key }) => `${table} ${key}`));
    for (const row of rows) {
      if (left.has(row.shown)) continue;
      for (const node of this.#run.present) {
        const has = imageIn(node.member!, row);
        if (has !== wanted(row))
          this.#run.problems.push(
            `after an undo ${node.name} has ${text(has)} in ${row.shown}, expected ${text(wanted(row))}`,
          );
      }
    }
  }

  /** null: it was refused, as it may be, or the problem is noted. */
  async #call<T>(node: SimNode, promise: Promise<T>, mayFail = false): Promise<T | null> {
    let result: { value: T } | { error: Error } | null = null;
    promise.then(
      (value) => (result = { value }),
      (error: Error) => (result = { error }),
    );
    const isDone = (): { value: T } | { error: Error } | null => result;
    await this.#until(() => isDone() !== null, `a call to ${node.name} has no end`);
    const end = isDone();
    if (end === null) return null;
    if ("value" in end) return end.value;
    if (!mayFail) this.#run.problems.push(`a call to ${node.name} fails: ${end.error.stack}`);
    return null;
  }

  #rest(): Promise<void> {
    return this.#until(this.#run.isSettled, "no rest after a call");
  }

  async #until(condition: () => boolean, otherwise: string): Promise<void> {
    const { world, problems } = this.#run;
    const end = world.now + CALL_MS;
    for (let idle = 0; world.now <= end && idle < IDLE_STEPS;) {
      if (condition()) return;
      idle = (await world.step()) ? 0 : idle + 1;
    }
    if (!condition()) problems.push(otherwise);
  }
}

const text = (image: string | null): string =>
  image === null ? "no row" : decodeImage(Buffer.from(image, "hex")).map(String).join();

const conflictsOf = (node: SimNode): readonly ConflictSummary[] =>
  node.node!.api.conflicts({ limit: 10_000, table: null, since: null, origin: null, open: false });

const hex = (bytes: Uint8Array | null): string | null =>
  bytes === null ? null : Buffer.from(bytes).toString("hex");

const imageIn = ({ replica: { replica } }: Replicator, { shape, key }: PastRow): string | null => {
  const image = replica.row(shape.id, key);
  return image === null ? null : hex(encodeImage(image));
};

/** Entries under the present schema. */
function entriesOf({ history, replica }: Replicator): PastEntry[] {
  const { schemaVersion } = replica.replica.settings;
  return history!.reader.after(0, 1_000_000).filter((entry) => entry.version === schemaVersion);
}

function rowsIn({ replica: { replica } }: Replicator, entries: readonly PastEntry[]): Map<string, PastRow> {
  const rows = new Map<string, PastRow>();
  for (const { shard, index, origin, rows: changed } of entries)
    for (const [table, before, after] of changed) {
      const shape = replica.shapes.get(table);
      if (shape === undefined) continue;
      const image = decodeImage((after ?? before)!);
      const shown = `${shape.name} ${showKey(shape, keyIdOfImage(shape, image))}`;
      let row = rows.get(shown);
      if (row === undefined)
        rows.set(shown, (row = { shape, key: keyOfImage(shape, image), shown, changes: [] }));
      row.changes.push({ shard, index, origin, before: hex(before), after: hex(after) });
    }
  return rows;
}

/** The row as the changes of others leave it, where those of the origin are taken back; null for the origin: all are. */
function wantedOf({ changes }: PastRow, origin: number | null): string | null {
  let wanted = changes.at(-1)!.after;
  for (const change of changes.toReversed()) {
    if (origin !== null && change.origin !== origin) continue;
    if (wanted !== change.after) break;
    wanted = change.before;
  }
  return wanted;
}

/** Each entry is there once and in order, each change begins with the row that the last one left, and the last one left the present row. */
function wrongHistory({ name, member }: SimNode): string[] {
  const { history, replica } = member!;
  const wrong: string[] = [];
  const { to } = history!.reader.reach;
  if (!hasReached(to, replica.replica.positions()))
    wrong.push(`the history of ${name} ends at ${showPosition(to)}, its replica is further`);
  const last = new Map<number, number>();
  const entries = entriesOf(member!);
  for (const { shard, index, last: isLast } of entries) {
    if (index < (last.get(shard) ?? 0) || (isLast && index === last.get(shard)))
      wrong.push(`the history of ${name} has the entry ${shard}:${index} twice, or too late`);
    if (isLast) last.set(shard, index);
  }
  for (const row of rowsIn(member!, entries).values()) {
    let known: string | null = row.changes[0]!.before;
    for (const { shard, index, before, after } of row.changes) {
      if (before !== known)
        wrong.push(
          `the history of ${name} has ${text(before)} before ${shard}:${index} in ${row.shown}, and left ${text(known)}`,
        );
      known = after;
    }
    if (imageIn(member!, row) !== known)
      wrong.push(`the history of ${name} ends with ${text(known)} in ${row.shown}, the replica does not`);
  }
  return wrong;
}
