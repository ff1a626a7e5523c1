/**
 * The checks of histories.
 *
 * The model. A write commits in the file of its node at once and is ordered by Raft later. Of two writes of a row by
 * one node between two drains only the later is ordered; the earlier counts as directly before it. For each row there
 * is one total order of its writes in which
 *   1. writes of one node have the order of their commits there;
 *   2. a write that `wait` confirmed precedes every write, on any node, that began after `wait` had returned: a
 *      quorum committed the one before the other could be proposed;
 *   3. the values in the file of a node, own writes included, never go back: own pending writes are shown before they
 *      are ordered, and hide the writes ordered before them;
 *   4. a node that was started after a write was confirmed shows it, or a later one, once it is ready;
 *   5. the value at the end, on all nodes, is the last; so every committed write precedes it.
 *
 * A write with unknown outcome may have happened at any time after it began: it counts when a process read it. Reads
 * may be old, so no search is needed: all values differ, so the rules are edges between writes, and an order exists
 * if and only if they have no cycle (`Precedence`).
 */
import { INITIAL, type Line, type Reading } from "./history.ts";
import { Precedence } from "./precedence.ts";

export interface NodeHistory {
  readonly name: string;
  readonly lines: readonly Line[];
}

/** What a node showed when it first said ready after a start. */
export interface ReadyReading {
  readonly node: string;
  /** Before the process was started. */
  readonly startedAt: number;
  readonly saw: Reading;
}

export interface Evidence {
  readonly nodes: readonly NodeHistory[];
  readonly ready: readonly ReadyReading[];
  /** At the end, the same on all nodes. */
  readonly final: Reading;
  readonly finalElements: readonly { readonly id: string; readonly list: number; readonly n: number }[];
  /** Journalled conflicts of `duels`: row and the node that lost. */
  readonly journal: readonly { readonly row: number; readonly loser: string }[];
  readonly total: number;
  /** Transactions arrive whole, so every reader sees the total unchanged. */
  readonly whole: boolean;
}

type Outcome = "committed" | "failed" | "unknown";

export interface Operation {
  readonly node: string;
  readonly op: number;
  readonly began: number;
  readonly outcome: Outcome;
  readonly intent: Extract<Line, { kind: "intent" }>["intent"];
  readonly saw: Reading | null;
  /** When it was known to be confirmed; Infinity: never. */
  readonly confirmedAt: number;
}

/** A node's operations in order, each with its outcome. */
export function operations({ name, lines }: NodeHistory): Operation[] {
  const waits = lines.filter((l) => l.kind === "confirmed");
  const outcomes = new Map<number, Extract<Line, { kind: "committed" | "failed" }>>();
  for (const line of lines)
    if (line.kind === "committed" || line.kind === "failed") outcomes.set(line.op, line);
  const out: Operation[] = [];
  for (const line of lines) {
    if (line.kind !== "intent") continue;
    const end = outcomes.get(line.op);
    const committed = end?.kind === "committed" ? end : null;
    const confirming = committed === null ? [] : waits.filter((w) => w.from > committed.at).map((w) => w.to);
    out.push({
      node: name,
      op: line.op,
      began: line.intent.at,
      outcome: end?.kind ?? "unknown",
      intent: line.intent,
      saw: committed?.saw ?? null,
      confirmedAt: Math.min(Number.POSITIVE_INFINITY, ...confirming),
    });
  }
  return out;
}

/** What is wrong; empty: nothing. */
export function check(evidence: Evidence): string[] {
  const all = evidence.nodes.map((node) => ({ node, ops: operations(node) }));
  return [
    ...checkRows(evidence, all),
    ...checkLists(evidence, all),
    ...checkBank(evidence),
    ...checkDuels(
      evidence,
      all.flatMap((a) => a.ops),
    ),
  ];
}

interface Checked {
  readonly node: NodeHistory;
  readonly ops: readonly Operation[];
}

function checkRows(evidence: Evidence, all: readonly Checked[]): string[] {
  const rows = new Set<string>();
  for (const { ops } of all)
    for (const op of ops) for (const w of op.intent.writes) rows.add(`${w.table}/${w.row}`);
  return [...rows].flatMap((row) => checkRow(row, evidence, all));
}

function checkRow(row: string, evidence: Evidence, all: readonly Checked[]): string[] {
  const wrong: string[] = [];
  const absent = row.startsWith("duels/") ? null : INITIAL;
  const graph = new Precedence();
  const initial = graph.event(`${row} as it was`);
  interface Write {
    readonly op: Operation;
    readonly value: string;
    readonly event: number;
  }
  const writes = new Map<string, Write>();
  for (const { ops } of all)
    for (const op of ops)
      for (const w of op.intent.writes)
        if (`${w.table}/${w.row}` === row && op.outcome !== "failed") {
          const event = graph.event(`${w.value} (${op.outcome})`);
          writes.set(w.value, { op, value: w.value, event });
          graph.before(initial, event, "the first state");
        }
  const eventOf = (value: string | null, where: string): number | null => {
    if (value === absent) return initial;
    const write = value === null ? undefined : writes.get(value);
    if (write !== undefined) return write.event;
    wrong.push(`${row}: ${where} shows ${value}, which nobody can have written there`);
    return null;
  };
  // Rules 1 and 3: the successive values in the file of a node.
  for (const { node, ops } of all) {
    const byOp = new Map(ops.map((op) => [op.op, op]));
    let last: number | null = null;
    const then = (event: number | null, why: string): void => {
      if (event === null) return;
      if (last !== null && last !== event) graph.before(last, event, `${node.name} ${why}`);
      last = event;
    };
    for (const line of node.lines) {
      if (line.kind === "read") {
        // A read lists the newest rows only: one that it leaves out says nothing.
        if (line.saw.rows[row] !== undefined) then(eventOf(line.saw.rows[row], node.name), "read it later");
      } else if (line.kind === "committed") {
        if (line.saw.rows[row] !== undefined) then(eventOf(line.saw.rows[row], node.name), "saw it later");
        const own = byOp.get(line.op)!.intent.writes.find((w) => `${w.table}/${w.row}` === row);
        if (own !== undefined) then(writes.get(own.value)!.event, "wrote it later");
      }
    }
  }
  // Rule 2, along a chain of confirmations instead of an edge for each pair.
  const confirmed = [...writes.values()].filter((w) => Number.isFinite(w.op.confirmedAt));
  confirmed.sort((a, b) => a.op.confirmedAt - b.op.confirmedAt);
  const moments = confirmed.map((w) => graph.event(`confirmed: ${w.value}`));
  for (const [i, w] of confirmed.entries()) {
    graph.before(w.event, moments[i]!, "confirmed");
    if (i > 0) graph.before(moments[i - 1]!, moments[i]!, "time");
  }
  const begun = [...writes.values()].sort((a, b) => a.op.began - b.op.began);
  let at = 0;
  for (const w of begun) {
    while (at < confirmed.length && confirmed[at]!.op.confirmedAt < w.op.began) at++;
    if (at > 0) graph.before(moments[at - 1]!, w.event, "began after it was confirmed");
  }
  // Rule 4.
  for (const { node, startedAt, saw } of evidence.ready) {
    const shown = eventOf(saw.rows[row] ?? absent, `${node}, ready,`);
    if (shown === null) continue;
    for (const w of confirmed)
      if (w.op.confirmedAt < startedAt && w.event !== shown)
        graph.before(w.event, shown, `${node}, started after that, showed this when it was ready`);
  }
  // Rule 5.
  const end = eventOf(evidence.final.rows[row] ?? absent, "the end");
  if (end !== null)
    for (const w of writes.values())
      if (w.op.outcome === "committed" && w.event !== end) graph.before(w.event, end, "the last state");
  const cycle = graph.cycle();
  if (cycle !== null) wrong.push(`${row}: no order is possible: ${cycle.join(" → ")}`);
  return wrong;
}

function checkLists({ final, finalElements, nodes, ready }: Evidence, all: readonly Checked[]): string[] {
  const wrong: string[] = [];
  const there = new Map(finalElements.map((e) => [e.id, e]));
  if (there.size !== finalElements.length) wrong.push("an element is there twice");
  const possible = new Set<string>();
  for (const op of all.flatMap((a) => a.ops))
    for (const { list, n, id } of op.intent.appends) {
      if (op.outcome === "failed") continue;
      possible.add(id);
      const found = there.get(id);
      if (found !== undefined && (found.list !== list || found.n !== n))
        wrong.push(`element ${id} is changed`);
      if (op.outcome !== "committed") continue;
      if (found === undefined) wrong.push(`element ${id} (${n} of list ${list}) is lost`);
      if ((final.lists[list] ?? 0) <= n)
        wrong.push(`list ${list} ends with ${final.lists[list] ?? 0} elements, ${n} was appended (${id})`);
      for (const r of ready)
        if (op.confirmedAt < r.startedAt && (r.saw.lists[list] ?? 0) <= n)
          wrong.push(`${r.node} was ready without element ${n} of list ${list}, confirmed before its start`);
    }
  for (const { id } of finalElements) if (!possible.has(id)) wrong.push(`element ${id}: nobody appended it`);
  for (const { name, lines } of nodes) {
    const longest = new Map<string, number>();
    for (const line of lines) {
      if (line.kind !== "read" && line.kind !== "committed") continue;
      for (const [list, count] of Object.entries(line.saw.lists)) {
        if (count === -1) wrong.push(`${name}: list ${list} was not in order`);
        else if (count < (longest.get(list) ?? 0))
          wrong.push(`${name}: list ${list} went back from ${longest.get(list)} to ${count} elements`);
        longest.set(list, count);
      }
    }
  }
  return wrong;
}

function checkBank({ nodes, ready, final, total, whole }: Evidence): string[] {
  const wrong: string[] = [];
  const look = (name: string, saw: Reading): void => {
    if (saw.total !== null && saw.total !== total)
      wrong.push(`${name} read a total of ${saw.total}, not ${total}`);
  };
  look("the end", final);
  if (!whole) return wrong;
  for (const { name, lines } of nodes)
    for (const line of lines) if (line.kind === "read") look(name, line.saw);
  for (const { node, saw } of ready) look(`${node}, ready,`, saw);
  return wrong;
}

/** Two writers, once each: the loser is in the journal if and only if the other had not seen it. */
function checkDuels({ journal, final }: Evidence, ops: readonly Operation[]): string[] {
  const rows = new Map<number, Operation[]>();
  for (const op of ops)
    for (const { table, row } of op.intent.writes)
      if (table === "duels" && op.outcome !== "failed") rows.set(row, [...(rows.get(row) ?? []), op]);
  const losers = new Map<number, string[]>();
  for (const { row, loser } of journal) losers.set(row, [...(losers.get(row) ?? []), loser]);
  const wrong: string[] = [];
  for (const [row, writers] of rows) {
    // An application that was killed and started again in one slot wrote twice: such a row is no duel.
    if (writers.length > 2 || writers.some((w) => w.outcome === "unknown")) continue;
    const seen = writers.map((w) => w.saw!.rows[`duels/${row}`] ?? null);
    const winner = final.rows[`duels/${row}`];
    const blind = writers.length === 2 && seen.every((s) => s === null);
    const lost = writers.filter((w) => w.intent.writes.every((x) => x.value !== winner));
    const expected = blind ? lost.map((w) => w.node) : [];
    const found = losers.get(row) ?? [];
    if (JSON.stringify(expected) !== JSON.stringify(found))
      wrong.push(
        `duels/${row}: ${winner} stands, the journal has ${found.join(", ") || "no loser"}, expected ${expected.join(", ") || "none"}`,
      );
  }
  return wrong;
}
