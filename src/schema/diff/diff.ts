/** Compares two catalogues: the list of changes that leads from one to the other. */
import { foldName } from "../../base/names.ts";
import { assert } from "../../base/assert.ts";
import type { Query } from "../../sqlite/query.ts";
import type { SchemaObject } from "../../sqlite/schema.ts";
import { afterTableName } from "../../sqlite/ddl-text/index-text.ts";
import { triggerName } from "../app-db-tables.ts";
import { isVirtual, withoutShadowTables } from "../virtual-tables.ts";
import type { ColumnOrigin, Recorder, SchemaChange, SchemaState } from "./change.ts";
import { changeCatalogue, columnsOf, sameSchema } from "./evolve.ts";
import { planAlter, renamedText } from "./alter-plan.ts";
import { renameSteps } from "./rename-steps.ts";
import { updateOf } from "../../sqlite/ddl-text/table-text.ts";

/** The newer form of an older table: its name now, and for each stored column the older one. */
export interface TableTarget {
  readonly to: string;
  readonly columns: readonly ColumnOrigin[];
}

/** `names`: table id ⇒ the table's name in the older catalogue. A table whose recorder was dropped is not in the list. */
export function readRecorders(query: Query, names: ReadonlyMap<number, string>): Recorder[] {
  const rows = query(
    `SELECT name, tbl_name, sql FROM main.sqlite_schema WHERE type = 'trigger' AND name LIKE '\\_\\_marmot\\_\\_%\\_columns' ESCAPE '\\'`,
  );
  const found = new Map(
    rows.map(([name, table, sql]) => [String(name), [String(table), String(sql)] as const]),
  );
  const recorders: Recorder[] = [];
  for (const [id, table] of names) {
    const trigger = found.get(triggerName(id, "columns"));
    const list = trigger === undefined ? null : updateOf(trigger[1]);
    if (trigger !== undefined && list !== null)
      recorders.push({ table, now: trigger[0], columns: list.columns });
  }
  return recorders;
}

/** In an order in which they can be applied: `changeCatalogue(from, …)` returns `to`. */
export function compareCatalogues(
  from: SchemaState,
  to: SchemaState,
  recorders: readonly Recorder[],
): SchemaChange[] {
  return changesBetween(from, to, matchTables(from, to, recorders));
}

/** Older table (lower case) ⇒ its newer form. Absent: dropped. */
function matchTables(
  from: SchemaState,
  to: SchemaState,
  recorders: readonly Recorder[],
): Map<string, TableTarget> {
  const before = tablesOf(from);
  const after = tablesOf(to);
  const matches = new Map<string, TableTarget>();
  const taken = new Set<string>();
  for (const recorder of recorders) {
    const old = before.get(foldName(recorder.table));
    const now = after.get(foldName(recorder.now));
    if (old === undefined || now === undefined || taken.has(foldName(now.name))) continue;
    if (isVirtual(old) || isVirtual(now)) continue;
    taken.add(foldName(now.name));
    matches.set(foldName(old.name), { to: now.name, columns: recordedColumns(old, now, recorder) });
  }
  for (const old of before.values()) {
    const now = after.get(foldName(old.name));
    if (matches.has(foldName(old.name)) || now === undefined || taken.has(foldName(now.name))) continue;
    // A virtual table with another text is another table, and so is an ordinary table in place of a virtual one.
    if ((isVirtual(old) || isVirtual(now)) && (old.sql !== now.sql || old.name !== now.name)) continue;
    matches.set(foldName(old.name), { to: now.name, columns: columnsByName(old, now) });
  }
  return matches;
}

export const tablesOf = (state: SchemaState): Map<string, SchemaObject> =>
  new Map(
    withoutShadowTables(state.objects).flatMap((o) =>
      o.kind === "table" ? [[foldName(o.name), o] as const] : [],
    ),
  );

function columnsByName(old: SchemaObject, now: SchemaObject): ColumnOrigin[] {
  if (old.sql === now.sql) return columnsOf(now).map((c) => [c, c]);
  const before = new Map(columnsOf(old).map((c) => [foldName(c), c]));
  return columnsOf(now).map((c) => [c, before.get(foldName(c)) ?? null]);
}

function recordedColumns(old: SchemaObject, now: SchemaObject, recorder: Recorder): ColumnOrigin[] {
  const before = columnsOf(old);
  if (recorder.columns.length !== before.length) return columnsByName(old, now);
  return columnsOf(now).map((column): ColumnOrigin => {
    const places = before.flatMap((_, i) => (foldName(recorder.columns[i]!) === foldName(column) ? [i] : []));
    // One column was dropped, then another renamed to its name: the list has the name twice, and the renamed one exists.
    const renamed = places.filter((i) => foldName(before[i]!) !== foldName(column));
    const place = renamed.at(-1) ?? places[0];
    return [column, place === undefined ? null : before[place]!];
  });
}

/** `targets`: the newer form of each older table, by its name in lower case. Other tables were dropped. */
export function changesBetween(
  from: SchemaState,
  to: SchemaState,
  targets: ReadonlyMap<string, TableTarget>,
): SchemaChange[] {
  if (sameSchema(from, to) && [...targets].every(([name, target]) => isUnchanged(name, target))) return [];
  const differ = new Differ(from, to, targets);
  const changes = differ.changes();
  assert(sameSchema(changeCatalogue(from, changes), to), "changes lead from one schema to the other");
  return changes;
}

const isIdentity = (columns: readonly ColumnOrigin[]): boolean => columns.every(([c, b]) => c === b);

const isUnchanged = (name: string, { to, columns }: TableTarget): boolean =>
  foldName(to) === name && isIdentity(columns);

class Differ {
  readonly #from: SchemaState;
  readonly #to: SchemaState;
  readonly #targets: ReadonlyMap<string, TableTarget>;
  readonly #changes: SchemaChange[] = [];
  /** By name in lower case, before and after. */
  readonly #before: ReadonlyMap<string, SchemaObject>;
  readonly #after: ReadonlyMap<string, SchemaObject>;

  constructor(from: SchemaState, to: SchemaState, targets: ReadonlyMap<string, TableTarget>) {
    this.#from = { ...from, objects: withoutShadowTables(from.objects) };
    this.#to = { ...to, objects: withoutShadowTables(to.objects) };
    this.#targets = targets;
    this.#before = tablesOf(this.#from);
    this.#after = tablesOf(this.#to);
  }

  changes(): SchemaChange[] {
    const oldTables = [...this.#before.values()];
    this.#dropOthers();
    for (const { name } of oldTables)
      if (!this.#targets.has(foldName(name))) this.#changes.push({ op: "dropTable", name });
    const kept = oldTables.flatMap((table) => {
      const target = this.#targets.get(foldName(table.name));
      return target === undefined ? [] : [{ table, target }];
    });
    this.#renameTables(kept);
    for (const { table, target } of kept) this.#alterTable(table, target);
    const continued = new Set([...this.#targets.values()].map((t) => foldName(t.to)));
    for (const { kind, name, sql } of this.#to.objects)
      if (kind === "table" && !continued.has(foldName(name)))
        this.#changes.push({ op: "createTable", name, sql });
    this.#createOthers();
    const { userVersion, applicationId } = this.#to;
    if (this.#from.userVersion !== userVersion) this.#changes.push({ op: "userVersion", value: userVersion });
    if (this.#from.applicationId !== applicationId)
      this.#changes.push({ op: "applicationId", value: applicationId });
    this.#reorder();
    return this.#changes;
  }

  /** Triggers, views and indexes. SQLite drops those of dropped tables and views itself. */
  #dropOthers(): void {
    const wanted = new Set(this.#to.objects.map((o) => `${o.kind} ${o.name}`));
    const isWanted = (o: SchemaObject): boolean => wanted.has(`${o.kind} ${o.name}`);
    const unwanted = (kind: SchemaObject["kind"]): SchemaObject[] =>
      this.#from.objects.filter((o) => o.kind === kind && !isWanted(o));
    const views = unwanted("view");
    const dropped = new Set(views.map((o) => foldName(o.name)));
    for (const name of this.#before.keys()) if (!this.#targets.has(name)) dropped.add(name);
    for (const { name, tableName } of unwanted("trigger"))
      if (!dropped.has(foldName(tableName))) this.#changes.push({ op: "drop", kind: "trigger", name });
    for (const { name, tableName } of unwanted("index"))
      if (!dropped.has(foldName(tableName))) this.#changes.push({ op: "drop", kind: "index", name });
    for (const { name } of views) this.#changes.push({ op: "drop", kind: "view", name });
  }

  #renameTables(kept: readonly { readonly table: SchemaObject; readonly target: TableTarget }[]): void {
    const renames = kept.map(({ table, target }) => ({ from: table.name, to: target.to }));
    const texts = new Map(kept.map(({ table }) => [foldName(table.name), table.sql]));
    let aside = 0;
    for (const { from: name, to } of renameSteps(renames, () => `__marmot__aside_${++aside}`)) {
      const text = texts.get(foldName(name))!;
      const wanted = this.#after.get(foldName(to))?.sql;
      const isRename = wanted !== undefined && afterTableName(wanted) === afterTableName(text);
      const sql = isRename ? wanted : renamedText(text, to);
      texts.delete(foldName(name));
      texts.set(foldName(to), sql);
      this.#changes.push({ op: "renameTable", name, to, sql });
    }
  }

  #alterTable(table: SchemaObject, { to: name, columns }: TableTarget): void {
    const wanted = this.#after.get(foldName(name))!.sql;
    const isRenamed = table.name !== name;
    if (isRenamed && afterTableName(wanted) === afterTableName(table.sql) && isIdentity(columns)) return;
    const sql = isRenamed ? renamedText(table.sql, name) : table.sql;
    if (sql === wanted && isIdentity(columns)) return;
    const { method } = planAlter(name, sql, wanted, columns);
    this.#changes.push({ op: "alterTable", name, sql: wanted, columns, method });
  }

  #createOthers(): void {
    const now = changeCatalogue(this.#from, this.#changes);
    const there = new Map(now.objects.map((o) => [`${o.kind} ${o.name}`, o]));
    for (const kind of ["view", "index", "trigger"] as const)
      for (const object of this.#to.objects) {
        if (object.kind !== kind) continue;
        const { name, tableName, sql } = object;
        const old = there.get(`${kind} ${name}`);
        if (old?.sql === sql && old.tableName === tableName) continue;
        this.#changes.push({ op: old === undefined ? "create" : "replace", kind, name, tableName, sql });
      }
  }

  #reorder(): void {
    const now = changeCatalogue(this.#from, this.#changes).objects;
    const objects = (["index", "trigger"] as const).flatMap((kind) => {
      const there = now.filter((o) => o.kind === kind);
      const wanted = this.#to.objects.filter((o) => o.kind === kind);
      return wanted.filter((o, i) => o.name !== there[i]?.name).map((o) => [kind, o.name] as const);
    });
    if (objects.length > 0) this.#changes.push({ op: "order", objects });
  }
}
