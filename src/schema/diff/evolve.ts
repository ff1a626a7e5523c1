/** Applies a list of changes to a catalogue in memory, and follows its tables and columns. */
import { foldName, isSameName } from "../../base/names.ts";
import { UserError } from "../../base/errors.ts";
import type { SchemaObject } from "../../sqlite/schema.ts";
import { isVirtual, withoutShadowTables } from "../virtual-tables.ts";
import type { ColumnOrigin, SchemaChange, SchemaState } from "./change.ts";
import { storedColumns } from "../../sqlite/ddl-text/table-text.ts";

export interface TableLineage {
  /** Its name before; null: it was created. */
  readonly from: string | null;
  /** Its name now; null: it was dropped. */
  readonly to: string | null;
  /** Stored columns of `to`; empty for a dropped table and for a virtual one. */
  readonly columns: readonly ColumnOrigin[];
}

interface Followed {
  readonly state: SchemaState;
  readonly lineages: TableLineage[];
}

/** Objects of these kinds share one name space; triggers have their own. */
const shareNames = (a: SchemaObject["kind"], b: SchemaObject["kind"]): boolean =>
  (a === "trigger") === (b === "trigger");

/** Stored columns of an ordinary table; none for a virtual one. */
export const columnsOf = (object: { readonly sql: string }): string[] =>
  isVirtual(object) ? [] : storedColumns(object.sql);

interface Tracked {
  readonly from: string | null;
  readonly sql: string;
  columns: readonly ColumnOrigin[];
  altered: boolean;
}

class Follower {
  objects: SchemaObject[];
  userVersion: number;
  applicationId: number;
  readonly dropped: Tracked[] = [];
  /** By name, in lower case. */
  readonly tracked = new Map<string, Tracked>();

  constructor(state: SchemaState) {
    this.objects = withoutShadowTables(state.objects);
    this.userVersion = state.userVersion;
    this.applicationId = state.applicationId;
    for (const object of this.objects)
      if (object.kind === "table") this.tracked.set(foldName(object.name), this.#track(object));
  }

  #track({ name, sql }: SchemaObject): Tracked {
    return { from: name, sql, columns: [], altered: false };
  }

  find(kind: SchemaObject["kind"], name: string): number {
    const at = this.objects.findIndex((o) => o.kind === kind && isSameName(o.name, name));
    if (at === -1) throw doesNotFit(`there is no ${kind} ${name}`);
    return at;
  }

  #mustBeFree(kind: SchemaObject["kind"], name: string): void {
    const taken = this.objects.find((o) => shareNames(o.kind, kind) && isSameName(o.name, name));
    if (taken !== undefined) throw doesNotFit(`there is a ${taken.kind} ${taken.name} already`);
  }

  step(change: SchemaChange): void {
    switch (change.op) {
      case "createTable":
        return this.#createTable(change.name, change.sql);
      case "dropTable":
        return this.#dropTable(change.name);
      case "renameTable":
        return this.#renameTable(change);
      case "alterTable":
        return this.#alterTable(change);
      case "create":
        this.#mustBeFree(change.kind, change.name);
        this.objects.push(objectOf(change));
        return;
      case "replace":
        this.objects[this.find(change.kind, change.name)] = objectOf(change);
        return;
      case "drop":
        return this.#drop(change.kind, change.name);
      case "userVersion":
        this.userVersion = change.value;
        return;
      case "applicationId":
        this.applicationId = change.value;
        return;
      case "order":
        return this.#order(change.objects);
      default:
        throw new UserError(
          `this version of marmot does not know the schema change ${String((change as { op: unknown }).op)}`,
          "install the version of marmot that the other nodes run",
        );
    }
  }

  #createTable(name: string, sql: string): void {
    this.#mustBeFree("table", name);
    this.objects.push({ kind: "table", name, tableName: name, sql });
    this.tracked.set(foldName(name), { from: null, sql, columns: [], altered: true });
  }

  #dropTable(name: string): void {
    const at = this.find("table", name);
    this.objects.splice(at, 1);
    this.objects = this.objects.filter((o) => !isSameName(o.tableName, name));
    const tracked = this.tracked.get(foldName(name))!;
    this.tracked.delete(foldName(name));
    if (tracked.from !== null) this.dropped.push(tracked);
  }

  #renameTable({ name, to, sql }: SchemaChange & { op: "renameTable" }): void {
    const at = this.find("table", name);
    if (!isSameName(name, to)) this.#mustBeFree("table", to);
    this.objects = this.objects.map((object, i) => {
      if (i === at) return { kind: "table", name: to, tableName: to, sql };
      return isSameName(object.tableName, name) ? { ...object, tableName: to } : object;
    });
    const tracked = this.tracked.get(foldName(name))!;
    this.tracked.delete(foldName(name));
    this.tracked.set(foldName(to), tracked);
    tracked.altered = true;
  }

  #alterTable({ name, sql, columns }: SchemaChange & { op: "alterTable" }): void {
    const at = this.find("table", name);
    const object = this.objects[at]!;
    const tracked = this.tracked.get(foldName(name))!;
    const before = tracked.altered && tracked.columns.length > 0 ? tracked.columns : identity(tracked.sql);
    const origin = new Map(before.map(([column, first]) => [foldName(column), first]));
    tracked.columns = columns.map(([column, last]) => [
      column,
      last === null ? null : (origin.get(foldName(last)) ?? null),
    ]);
    tracked.altered = true;
    this.objects[at] = { ...object, sql };
  }

  #drop(kind: "index" | "view" | "trigger", name: string): void {
    this.objects.splice(this.find(kind, name), 1);
    if (kind === "view") this.objects = this.objects.filter((o) => !isSameName(o.tableName, name));
  }

  #order(named: readonly (readonly [SchemaObject["kind"], string])[]): void {
    for (const kind of ["index", "trigger"] as const) {
      const wanted = named.flatMap(([of, name]) =>
        of === kind ? this.objects.filter((o) => o.kind === kind && isSameName(o.name, name)) : [],
      );
      const members = new Set(wanted);
      let next = 0;
      this.objects = this.objects.map((o) => (members.has(o) ? wanted[next++]! : o));
    }
  }
}

const objectOf = (change: SchemaChange & { op: "create" | "replace" }): SchemaObject => ({
  kind: change.kind,
  name: change.name,
  tableName: change.tableName,
  sql: change.sql,
});

/** No stored column changed. */
const identity = (sql: string): ColumnOrigin[] => columnsOf({ sql }).map((c) => [c, c]);

const doesNotFit = (problem: string): UserError =>
  new UserError(
    `a schema change does not fit the schema it is applied to: ${problem}`,
    "move this node's database file and data directory to another place, and start it with --peers: it then receives both",
  );

export function follow(state: SchemaState, changes: readonly SchemaChange[]): Followed {
  const follower = new Follower(state);
  for (const change of changes) follower.step(change);
  const { objects, userVersion, applicationId } = follower;
  const kept: TableLineage[] = [];
  const created: TableLineage[] = [];
  for (const object of objects) {
    if (object.kind !== "table") continue;
    const tracked = follower.tracked.get(foldName(object.name))!;
    if (!tracked.altered) continue;
    const { from } = tracked;
    const columns: readonly ColumnOrigin[] =
      from === null
        ? columnsOf(object).map((c): ColumnOrigin => [c, null])
        : tracked.columns.length > 0
          ? tracked.columns
          : identity(tracked.sql);
    (from === null ? created : kept).push({ from, to: object.name, columns });
  }
  const dropped = follower.dropped.map(({ from }): TableLineage => ({ from, to: null, columns: [] }));
  return {
    state: { objects: inReadOrder(objects), userVersion, applicationId },
    lineages: [...dropped, ...kept, ...created],
  };
}

/** Throws `UserError` where a change does not fit the catalogue. */
export const changeCatalogue = (state: SchemaState, changes: readonly SchemaChange[]): SchemaState =>
  follow(state, changes).state;

/** Tables that changed in name or text: first dropped ones, then the others in the newer order, created ones last. */
export const followTables = (state: SchemaState, changes: readonly SchemaChange[]): TableLineage[] =>
  follow(state, changes).lineages;

/** Puts every index and trigger after its table or view, as SQLite reads a schema, and removes those that have none. */
export function inReadOrder(objects: readonly SchemaObject[]): SchemaObject[] {
  const isOwner = ({ kind }: SchemaObject): boolean => kind === "table" || kind === "view";
  const owners = new Map(objects.flatMap((o) => (isOwner(o) ? [[foldName(o.name), o] as const] : [])));
  const list = new Set<SchemaObject>();
  for (const object of objects) {
    const owner = isOwner(object) ? object : owners.get(foldName(object.tableName));
    if (owner !== undefined) list.add(owner).add(object);
  }
  return [...list];
}

/**
 * Triggers fire in their order, and of two violated indexes the older one is reported. The order of tables and views has no
 * effect, and a VACUUM changes it.
 */
const isOrdered = ({ kind }: SchemaObject): boolean => kind === "index" || kind === "trigger";

function comparable({ objects, userVersion, applicationId }: SchemaState): string {
  const list = withoutShadowTables(objects).map(
    (o) => [o.kind, o.name, o.tableName, o.sql, isOrdered(o)] as const,
  );
  const unordered = list.filter((o) => !o[4]).map((o) => JSON.stringify(o));
  const ordered = (kind: string): unknown => list.filter((o) => o[0] === kind);
  return JSON.stringify([unordered.sort(), ordered("index"), ordered("trigger"), userVersion, applicationId]);
}

/** The same texts, and the same order where it has an effect. Shadow tables are ignored. */
export const sameSchema = (a: SchemaState, b: SchemaState): boolean => comparable(a) === comparable(b);
