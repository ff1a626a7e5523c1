/** Replicated tables that this node cannot write as they are: they are held back, and everything else goes on. */
import type { DatabaseSync } from "node:sqlite";
import { foldName, isSameName } from "../base/names.ts";
import type { RememberedSchema } from "../capture/remembered.ts";
import { declaredColumns } from "../change/shape.ts";
import type { IncompleteTable } from "../replica/store/incomplete-tables.ts";
import type { Replica } from "../replica/replica.ts";
import type { ClassifiedTable } from "../schema/classify/classify.ts";
import { realTextTables } from "../schema/classify/real-texts.ts";
import { extensionsOf, hintOf, type Unwritable, withCopy } from "../schema/classify/writable.ts";
import { renamedText } from "../schema/diff/alter-plan.ts";
import type { SchemaChange, SchemaState } from "../schema/diff/change.ts";
import { columnsOf, type TableLineage } from "../schema/diff/evolve.ts";
import { createObject, withScratch } from "../schema/scratch.ts";
import { type Query, queryOf } from "../sqlite/query.ts";
import { formatsAlike } from "../sqlite/versions/real-format.ts";
import type { SqliteVersion } from "../sqlite/versions/sqlite-version.ts";
import { keyCollations, keyColumns, readTable, type SchemaObject, type Table } from "../sqlite/schema.ts";

/** Its rows of other nodes wait, and its changed schema stays on this node. */
export interface HeldTable {
  readonly id: number;
  /** In the file. */
  readonly name: string;
  /** In the schema that the file remembers. */
  readonly remembered: string;
  readonly reason: string;
  readonly hint: string;
  /** Its rows still have the key and the columns of the cluster's table, so those of this node travel. */
  readonly sends: boolean;
  /** Its key is another one than the key of the cluster's table: its change log cannot name its rows. */
  readonly isRekeyed: boolean;
}

/** A table of which the replica has no rows. */
export interface NamedIncomplete extends IncompleteTable {
  /** In the cluster's schema. */
  readonly name: string;
}

interface TableFindings {
  readonly lineages: readonly TableLineage[];
  /** By folded name. */
  readonly verdicts: ReadonlyMap<string, ClassifiedTable>;
  readonly unwritable: ReadonlyMap<string, readonly Unwritable[]>;
  readonly incomplete: readonly NamedIncomplete[];
}

/** `query` reads the file. */
export function heldTables(
  query: Query,
  { tables, state }: RememberedSchema,
  { lineages, verdicts, unwritable, incomplete }: TableFindings,
): HeldTable[] {
  const known = new Set(tables.values());
  const absent = incomplete.flatMap(({ id, name, reason, hint }): HeldTable[] =>
    known.has(id) ? [] : [{ id, name, remembered: name, reason, hint, sends: false, isRekeyed: false }],
  );
  const held = [...tables].flatMap(([remembered, id]): HeldTable[] => {
    const lineage = lineages.find((l) => isSameName(l.from, remembered));
    // Where it was dropped another table may have taken its name.
    const name = lineage?.to ?? remembered;
    const without = incomplete.find((t) => t.id === id);
    if (without !== undefined) {
      const { reason, hint } = without;
      return [{ id, name, remembered, reason, hint, sends: false, isRekeyed: false }];
    }
    const verdict = verdicts.get(foldName(name));
    const why = unwritable.get(foldName(name)) ?? [];
    const isRefused = verdict?.verdict === "refused";
    if (!isRefused && why.length === 0) return [];
    const old = state.objects.find((o) => o.kind === "table" && isSameName(o.name, remembered));
    const now = readTable(query, name);
    const isRekeyed = old === undefined || !isKeyedAlike(old.sql, now);
    return [
      {
        ...{ id, name, remembered },
        reason: isRefused ? verdict.reason : why.map((u) => u.reason).join("; "),
        hint: isRefused ? (verdict.fix ?? verdict.hint) : hintOf(why),
        sends: !isRekeyed && hasAllColumns(old.sql, now),
        isRekeyed,
      },
    ];
  });
  return [...held, ...absent];
}

/** The table has all columns that it had under its older text. */
function hasAllColumns(before: string, now: Table): boolean {
  const stored = new Set(now.columns.flatMap((c) => (c.hidden === 0 ? [foldName(c.name)] : [])));
  return columnsOf({ sql: before }).every((c) => stored.has(foldName(c)));
}

/** The table has the key that it had under its older text. */
function isKeyedAlike(before: string, now: Table): boolean {
  return withScratch((db) => {
    const { name } = now;
    createObject(db, { kind: "table", name, tableName: name, sql: renamedText(before, name) });
    return keyText(readTable(queryOf(db), name)) === keyText(now);
  });
}

/** The held tables under the replica's schema, whose columns may be others by now. `db` is the file. */
export const heldUnder = (
  db: DatabaseSync,
  replica: Pick<Replica, "shapes">,
  held: readonly HeldTable[],
): HeldTable[] => held.map((t) => ({ ...t, sends: t.sends && hasColumns(db, replica, t) }));

/** Ids of held tables whose rows wait in both directions. */
export const silentIds = (held: readonly HeldTable[]): ReadonlySet<number> =>
  new Set(held.flatMap(({ id, sends }) => (sends ? [] : [id])));

/** The file's table has the name and every column that the replica's has by now. */
export function hasColumns(
  db: DatabaseSync,
  { shapes }: Pick<Replica, "shapes">,
  { id, name }: HeldTable,
): boolean {
  const here = new Set(readTable(queryOf(db), name).columns.map((c) => foldName(c.name)));
  const shape = shapes.get(id);
  if (shape === undefined) return true;
  return isSameName(shape.name, name) && declaredColumns(shape).every((c) => here.has(foldName(c.name)));
}

const keyText = (table: Table): string =>
  JSON.stringify([
    keyColumns(table).map((c) => [foldName(c.name), c.affinity]),
    keyCollations(table),
    table.rowidColumn === null,
    table.withoutRowid,
  ]);

/**
 * Changed tables whose replica calls a function of `--functions` that the named nodes lack: they could not follow the change.
 * By folded name.
 */
export function unknownElsewhere(
  objects: readonly SchemaObject[],
  { before, lineages }: { readonly before: SchemaState; readonly lineages: readonly TableLineage[] },
  nodes: readonly string[],
): Map<string, readonly Unwritable[]> {
  const found = new Map<string, readonly Unwritable[]>();
  if (nodes.length === 0) return found;
  for (const { kind, name } of objects) {
    if (kind !== "table") continue;
    const former = lineages.find((l) => isSameName(l.to, name))?.from ?? name;
    const had = extensionsOf(former, before.objects);
    const called = extensionsOf(name, objects).filter((f) => !had.includes(f));
    if (called.length === 0) continue;
    const reason = `it calls ${called.join(", ")} of --functions, and ${nodes.join(", ")} has other functions or does not answer`;
    const give = `start ${nodes.join(", ")} with the same --functions and --load-extension, or remove a node that will not come back: then the change is sent`;
    found.set(foldName(name), [{ index: null, reason, give, without: "" }]);
  }
  return found;
}

/** The SQLite that the application of another node writes with. */
export interface ApplicationElsewhere {
  readonly node: string;
  readonly version: SqliteVersion;
}

/**
 * Changed tables that would keep REAL values as text, where the application of another node formats them in another way than
 * Marmot does: it would find its file malformed. `query` reads the file. By folded name.
 */
export function formattedElsewhere(
  query: Query,
  objects: readonly SchemaObject[],
  {
    before,
    applications,
  }: { readonly before: SchemaState; readonly applications: readonly ApplicationElsewhere[] },
): Map<string, readonly Unwritable[]> {
  const others = applications.filter(({ version }) => !formatsAlike(version));
  const found = new Map<string, readonly Unwritable[]>();
  for (const [version, nodes] of Map.groupBy(others, (other) => other.version)) {
    const kept = (of: readonly SchemaObject[]): ReadonlyMap<string, readonly Unwritable[]> =>
      withCopy(of, (copy) => realTextTables(query, copy, version));
    const had = new Set([...kept(before.objects).values()].flat().map(({ reason }) => reason));
    const names = nodes.map(({ node }) => node).join(", ");
    for (const [table, reasons] of kept(objects)) {
      const fresh = reasons.filter(({ reason }) => !had.has(reason));
      if (fresh.length === 0) continue;
      const told = fresh.map((u) => ({ ...u, reason: `${u.reason} (on ${names})` }));
      found.set(table, [...(found.get(table) ?? []), ...told]);
    }
  }
  return found;
}

/** The changes of the cluster that the file follows: held tables stay as they are. `before`: the schema that it remembers. */
export function withoutHeld(
  changes: readonly SchemaChange[],
  before: SchemaState,
  held: readonly HeldTable[],
): SchemaChange[] {
  if (held.length === 0) return [...changes];
  const names = new Set(held.map((t) => foldName(t.remembered)));
  const had = new Map(before.objects.map((o) => [`${o.kind} ${foldName(o.name)}`, foldName(o.tableName)]));
  const tableOf = (change: SchemaChange): string | undefined => {
    if (change.op === "drop") return had.get(`${change.kind} ${foldName(change.name)}`);
    if ("tableName" in change) return change.kind === "view" ? undefined : foldName(change.tableName);
    return "name" in change ? foldName(change.name) : undefined;
  };
  return changes.filter((change) => {
    const table = tableOf(change);
    if ("tableName" in change) had.set(`${change.kind} ${foldName(change.name)}`, foldName(change.tableName));
    if (table === undefined || !names.has(table)) return true;
    if (change.op === "renameTable") names.add(foldName(change.to));
    return false;
  });
}

/** `state` with the held tables, and the objects on them, as they were `before`. */
export function withHeld<T extends SchemaState>(
  state: T,
  before: SchemaState,
  held: readonly HeldTable[],
): T {
  if (held.length === 0) return state;
  const now = new Set(held.map((t) => foldName(t.name)));
  const then = new Set(held.map((t) => foldName(t.remembered)));
  const isKept = (o: SchemaObject): boolean => o.kind === "view" || !now.has(foldName(o.tableName));
  const kept = new Map(state.objects.filter(isKept).map((o) => [`${o.kind} ${o.name}`, o]));
  const objects: SchemaObject[] = [];
  // In the former order: a changed order alone is no change.
  for (const object of before.objects) {
    const key = `${object.kind} ${object.name}`;
    if (object.kind !== "view" && then.has(foldName(object.tableName))) objects.push(object);
    else if (kept.has(key)) objects.push(kept.get(key)!);
    kept.delete(key);
  }
  return { ...state, objects: [...objects, ...kept.values()] };
}
