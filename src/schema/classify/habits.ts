/**
 * Habits of applications that several nodes break, as far as a schema shows them: job queues, counters that triggers keep,
 * trees whose paths are computed from siblings, and rows that follow an id which two nodes may pick. `doctor` warns of them.
 */
import { foldName, isSameName } from "../../base/names.ts";
import type { Query } from "../../sqlite/query.ts";
import { readTable, type SchemaObject, type Table } from "../../sqlite/schema.ts";
import { classifyTriggers } from "../triggers.ts";

export interface Habit {
  readonly message: string;
  readonly hint: string;
}

/** Columns by which a table is known as a queue: each worker takes the first row that no other has. */
const QUEUES: readonly {
  readonly of: string;
  readonly table: RegExp;
  readonly columns: readonly string[];
}[] = [
  { of: "APScheduler", table: /^apscheduler_jobs$/i, columns: ["next_run_time", "job_state"] },
  { of: "huey", table: /^task$/i, columns: ["queue", "data", "priority"] },
  { of: "Laravel", table: /^jobs$/i, columns: ["queue", "payload", "attempts", "reserved_at"] },
  { of: "Rails", table: /^solid_queue_ready_executions$/i, columns: ["job_id", "queue_name"] },
  { of: "Django Q", table: /^django_q_ormq$/i, columns: ["key", "payload", "lock"] },
  { of: "Django's tasks", table: /^django_tasks_database_dbtaskresult$/i, columns: ["status", "queue_name"] },
  { of: "kombu", table: /^kombu_message$/i, columns: ["visible", "payload", "queue_id"] },
  { of: "goqite", table: /^goqite$/i, columns: ["queue", "body", "timeout", "received"] },
];

const has = (table: Table, columns: readonly string[]): boolean =>
  columns.every((name) => table.columns.some((c) => isSameName(c.name, name)));

/** Names in a sentence, with the number of those that do not fit. */
export function someOf(names: readonly string[], most = 4): string {
  const shown = names.slice(0, most);
  const more = names.length - shown.length;
  return more === 0 ? shown.join(", ") : `${shown.join(", ")} and ${more} more`;
}

/** `replicated`: names of tables. */
export function habitsOf(
  query: Query,
  objects: readonly SchemaObject[],
  replicated: readonly string[],
): Habit[] {
  const tables = replicated.map((name) => readTable(query, name));
  const queues = tables.flatMap((table) => {
    const queue = QUEUES.find(({ table: name, columns }) => name.test(table.name) && has(table, columns));
    return queue === undefined ? [] : [`${table.name} of ${queue.of}`];
  });
  const trees = tables.filter((table) => isTree(table)).map(({ name }) => name);
  const counters = countersOf(objects, replicated);
  const habits: Habit[] = [];
  if (queues.length > 0)
    habits.push({
      message: `job queue: ${someOf(queues)}; workers on two nodes can take the same job`,
      hint: "run the workers of a queue on one node",
    });
  if (counters.length > 0)
    habits.push({
      message: `triggers count in ${someOf(counters)}; of two nodes that count at the same time one result is kept`,
      hint: `leave it out with --exclude ${counters.join(",")}: the triggers of each node then count all rows`,
    });
  if (trees.length > 0)
    habits.push({
      message: `tree with paths that are computed from siblings: ${someOf(trees)}; two nodes that add to one parent pick the same path, and one row goes to the conflict journal`,
      hint: "add and move rows of the tree on one node; all nodes can edit them",
    });
  return habits;
}

/** A materialized path, as treebeard keeps it. */
const isTree = (table: Table): boolean => has(table, ["path", "depth", "numchild"]);

/** Replicated tables in which a trigger adds to, or takes from, a value that it reads there. */
function countersOf(objects: readonly SchemaObject[], replicated: readonly string[]): string[] {
  const counters = new Set<string>();
  for (const { writes, table, sql } of classifyTriggers(objects, replicated).byName.values()) {
    if (!/[+-]\s*1\b/.test(sql)) continue;
    for (const name of replicated)
      if (writes.has(foldName(name)) && !isSameName(name, table)) counters.add(name);
  }
  return [...counters];
}

/** Tables with references to ids of `parents`: their rows follow the parent that wins where two nodes pick one id. */
export function followersOf(
  query: Query,
  parents: readonly string[],
  replicated: readonly string[],
): string[] {
  const ids = new Set(parents.map(foldName));
  return replicated.filter((name) =>
    readTable(query, name).foreignKeys.some((parent) => ids.has(foldName(parent))),
  );
}
