/**
 * The application's own triggers, classified by the tables that they write (`observe-triggers.ts` finds these out).
 *
 * The rows that a trigger writes to replicated tables arrive from their origin: it must not write them again when rows of
 * other nodes are written. Its writes to tables of this node alone must happen on every node.
 */
import { foldName } from "../base/names.ts";
import type { SchemaObject } from "../sqlite/schema.ts";
import { mentions } from "../sqlite/ddl-text/index-text.ts";
import { type ObservedTrigger, observeTriggers, type TriggerEvent } from "./observe-triggers.ts";

/**
 * How a trigger is treated while Marmot writes. "silent": all its effects are ignored. "passes": its writes to replicated
 * tables are ignored, the other ones happen. "dropped": no authorizer can ignore one of its effects, so Marmot drops it
 * inside its own write transaction and creates it again before the commit.
 */
export type TriggerMode = "silent" | "passes" | "dropped";

export interface UserTrigger {
  readonly name: string;
  readonly table: string;
  /** Verbatim. */
  readonly sql: string;
  readonly mode: TriggerMode;
  readonly event: TriggerEvent;
  /** Tables and views, in lower case. */
  readonly writes: ReadonlySet<string>;
  /** SQLite compiles it without the application's own functions and collations. */
  readonly compiles: boolean;
  /** Why rows of a table that fires it cannot be written on other nodes; null: they can. */
  readonly problem: { readonly reason: string; readonly hint: string } | null;
}

export class UserTriggers {
  /** By name, in lower case. */
  readonly byName: ReadonlyMap<string, UserTrigger>;
  readonly #replicated: ReadonlySet<string>;
  readonly #views: ReadonlySet<string>;
  readonly #byTable = new Map<string, UserTrigger[]>();
  readonly #reached = new Map<string, readonly UserTrigger[]>();

  constructor(
    triggers: readonly UserTrigger[],
    replicated: ReadonlySet<string>,
    views: ReadonlySet<string> = new Set(),
  ) {
    this.#views = views;
    this.byName = new Map(triggers.map((t) => [foldName(t.name), t]));
    this.#replicated = replicated;
    for (const trigger of triggers) {
      const table = foldName(trigger.table);
      this.#byTable.set(table, [...(this.#byTable.get(table) ?? []), trigger]);
    }
  }

  isReplicated(table: string): boolean {
    return this.#replicated.has(foldName(table));
  }

  isView(name: string): boolean {
    return this.#views.has(foldName(name));
  }

  /** Every trigger that SQLite compiles into a write of the table: its own, and those of the tables that these write. */
  reachedFrom(table: string): readonly UserTrigger[] {
    let reached = this.#reached.get(table);
    if (reached === undefined) this.#reached.set(table, (reached = this.#reach(table)));
    return reached;
  }

  /** A write of the table fires a trigger with effects that are not ignored. */
  passes(table: string): boolean {
    return this.reachedFrom(table).some((t) => t.mode === "passes");
  }

  #reach(table: string): UserTrigger[] {
    const reached = new Set<UserTrigger>();
    const visit = (name: string): void => {
      for (const trigger of this.#byTable.get(name) ?? []) {
        if (reached.has(trigger)) continue;
        reached.add(trigger);
        for (const written of trigger.writes) visit(written);
      }
    };
    visit(foldName(table));
    return [...reached];
  }
}

/** `objects`: the application's schema. `replicated`: names of tables, in any case. */
export function classifyTriggers(
  objects: readonly SchemaObject[],
  replicated: Iterable<string>,
): UserTriggers {
  const names = new Set([...replicated].map(foldName));
  if (!objects.some((o) => o.kind === "trigger")) return new UserTriggers([], names);
  const classifier = new TriggerClassifier(objects, names);
  return new UserTriggers(classifier.triggers(), names, classifier.views);
}

class TriggerClassifier {
  readonly #observed: readonly ObservedTrigger[];
  readonly #replicated: ReadonlySet<string>;
  readonly views: ReadonlySet<string>;
  readonly #passing = new Map<ObservedTrigger, boolean>();
  readonly #obstacles = new Map<ObservedTrigger, string | null>();

  constructor(objects: readonly SchemaObject[], replicated: ReadonlySet<string>) {
    this.#observed = observeTriggers(objects);
    this.#replicated = replicated;
    this.views = new Set(objects.filter((o) => o.kind === "view").map((o) => foldName(o.name)));
  }

  triggers(): UserTrigger[] {
    return this.#observed.map((trigger) => this.#classify(trigger));
  }

  #on(table: string): ObservedTrigger[] {
    return this.#observed.filter((o) => foldName(o.object.tableName) === table);
  }

  /** Whether it writes a table that does not replicate. */
  #passes(trigger: ObservedTrigger): boolean {
    const known = this.#passing.get(trigger);
    if (known !== undefined) return known;
    this.#passing.set(trigger, false); // a circle adds nothing
    const result = [...trigger.inserts, ...trigger.updates, ...trigger.deletes].some((table) =>
      this.views.has(table) ? this.#on(table).some((t) => this.#passes(t)) : !this.#replicated.has(table),
    );
    this.#passing.set(trigger, result);
    return result;
  }

  /** An effect that no authorizer can ignore, or null. */
  #obstacle(trigger: ObservedTrigger): string | null {
    const known = this.#obstacles.get(trigger);
    if (known !== undefined) return known;
    this.#obstacles.set(trigger, null);
    const { inserts, updates, deletes, rekeys, functions } = trigger;
    const isReplicated = (table: string): boolean => this.#replicated.has(table);
    const deleted = [...deletes].find(isReplicated);
    const rekeyed = [...rekeys].find(isReplicated);
    // An ignored UPDATE still fires the updated table's triggers, as if the row had been written once more.
    const updated = [...updates].find(
      (t) => isReplicated(t) && this.#on(t).some((o) => o.event === "UPDATE" && this.#passes(o)),
    );
    const view = [...inserts, ...updates, ...deletes].find(
      (t) => this.views.has(t) && this.#on(t).some((o) => this.#obstacle(o) !== null),
    );
    let result: string | null = null;
    if (functions.size > 0) result = `calls ${[...functions].join(", ")}, which only the application has`;
    else if (deleted !== undefined) result = `deletes from ${deleted}`;
    else if (rekeyed !== undefined) result = `changes keys of ${rekeyed}`;
    else if (updated !== undefined)
      result = `updates ${updated}, whose own triggers write a table that does not replicate`;
    else if (view !== undefined) result = `writes the view ${view}, whose triggers delete`;
    this.#obstacles.set(trigger, result);
    return result;
  }

  #classify(trigger: ObservedTrigger): UserTrigger {
    const { object, event, inserts, updates, deletes, error } = trigger;
    const { name, tableName: table, sql } = object;
    const writes = new Set([...inserts, ...updates, ...deletes]);
    const common = { name, table, sql, event, writes, compiles: error === "" };
    if (error !== "")
      return {
        ...common,
        mode: "dropped",
        problem: {
          reason: `its trigger ${name} does not compile here: ${error}`,
          hint: `write ${name} with SQLite's own functions and collations only, or drop it`,
        },
      };
    const obstacle = this.#obstacle(trigger);
    if (!this.#passes(trigger))
      return { ...common, mode: obstacle === null ? "silent" : "dropped", problem: null };
    const why = obstacle ?? (mentions(sql, "RAISE") ? "uses RAISE" : null);
    if (why === null) return { ...common, mode: "passes", problem: null };
    const local = [...writes].find((t) => !this.#replicated.has(t)) ?? "";
    const reason = `its trigger ${name} writes ${local}, which does not replicate, and also ${why}`;
    const split = `split ${name} into two triggers, one for each`;
    const problem =
      trigger.functions.size > 0
        ? {
            reason,
            hint: `give them with --functions FILE.js, ${split}, or write it with SQLite's own functions only`,
          }
        : { reason: `${reason}, which must happen on one node only`, hint: split };
    return { ...common, mode: "dropped", problem };
  }
}
