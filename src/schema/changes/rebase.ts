/**
 * This node's schema changes put on top of what the cluster decided meanwhile. Base, ours and theirs are brought to common
 * names, then merged object by object and, within a table, part by part. What both made differently stands as theirs.
 */
import { errorMessage } from "../../base/errors.ts";
import type { SchemaObject } from "../../sqlite/schema.ts";
import { mentions } from "../index-text.ts";
import { isVirtual } from "../user-triggers.ts";
import type { ColumnOrigin, LostChange, SchemaChange, SchemaState } from "./change.ts";
import { brokenObjects, keyOf } from "./check-state.ts";
import {
  columnNames,
  type LostName,
  namesOf,
  renamingOf,
  settleNames,
  type TableNames,
} from "./common-names.ts";
import { changesBetween, compareCatalogues, type TableTarget, tablesOf } from "./compare.ts";
import { changeCatalogue, columnsOf, followTables, sameSchema, settled } from "./follow.ts";
import { LOST, mergeTable, sameTable } from "./merge-table.ts";
import { renamedState } from "./renamed-state.ts";
import { withoutShadows } from "./shadows.ts";
import { sameTokens } from "./table-text.ts";

export interface RebaseInput {
  /** What the live file last reflected. */
  readonly base: SchemaState;
  /** What led from there to the live file as it is. */
  readonly pending: readonly SchemaChange[];
  /** What the cluster's schema is now. */
  readonly onto: SchemaState;
  /** What led from `base` to `onto`; without it a rename is taken for a drop and a create. */
  readonly theirs?: readonly SchemaChange[];
}

export interface Rebased {
  /** What is still to be done on top of `onto`. */
  readonly changes: readonly SchemaChange[];
  /** What the live file must become: `onto` with `changes` on top. */
  readonly target: SchemaState;
  /** From the live file as it is to `target`. */
  readonly live: readonly SchemaChange[];
  readonly lost: readonly LostChange[];
}

const lower = (name: string): string => name.toLowerCase();

const plain = (state: SchemaState): SchemaState => ({ ...state, objects: withoutShadows(state.objects) });

export function rebaseChanges({ base, pending, onto, theirs }: RebaseInput): Rebased {
  const live = changeCatalogue(base, pending);
  const isTold = theirs !== undefined && sameSchema(changeCatalogue(base, theirs), onto);
  const known = isTold ? theirs : compareCatalogues(base, onto, []);
  const target = plain(onto);
  if (pending.length === 0) return { changes: [], target, live: known, lost: [] };
  if (known.length === 0) return { changes: pending, target: live, live: [], lost: [] };
  return new Rebase(plain(base), live, target, pending, known).run();
}

/** What of ours is left out after all, since the schema does not work with it. */
interface LeftOut {
  /** Tables of the base, in lower case. */
  readonly tables: Map<string, string>;
  /** By `keyOf`, in common names. */
  readonly objects: Map<string, string>;
}

interface Merged {
  readonly state: SchemaState;
  readonly names: readonly TableNames[];
  /** Base, ours, theirs in common names. */
  readonly base: SchemaState;
  readonly ours: SchemaState;
  readonly theirs: SchemaState;
  readonly lost: LostChange[];
}

class Rebase {
  readonly #base: SchemaState;
  readonly #live: SchemaState;
  readonly #onto: SchemaState;
  readonly #pending: readonly SchemaChange[];
  readonly #theirs: readonly SchemaChange[];

  constructor(
    base: SchemaState,
    live: SchemaState,
    onto: SchemaState,
    pending: readonly SchemaChange[],
    theirs: readonly SchemaChange[],
  ) {
    this.#base = base;
    this.#live = live;
    this.#onto = onto;
    this.#pending = pending;
    this.#theirs = theirs;
  }

  run(): Rebased {
    const leftOut: LeftOut = { tables: new Map(), objects: new Map() };
    // Each round leaves out something more of ours; without any of it theirs stands, which works.
    for (let round = 0; round <= this.#base.objects.length + this.#live.objects.length; round++) {
      let merged: Merged;
      try {
        merged = this.#merge(leftOut);
      } catch (error) {
        return this.#nothing(errorMessage(error));
      }
      if (this.#leaveOut(merged, leftOut)) continue;
      return this.#result(merged);
    }
    return this.#nothing("it does not go together with what was changed elsewhere");
  }

  /** Theirs alone. */
  #nothing(reason: string): Rebased {
    const lost = this.#pending.map((change) => this.#lostChange(change, reason));
    const names = this.#names(new Map());
    for (const name of names) name.common = name.theirs ?? name.base;
    const live = changesBetween(this.#live, this.#onto, this.#liveTargets(names, this.#onto, null));
    return { changes: [], target: this.#onto, live, lost };
  }

  #names(leftOut: ReadonlyMap<string, string>): TableNames[] {
    const ours = followTables(this.#base, this.#pending).filter(
      (l) => l.from === null || !leftOut.has(lower(l.from)),
    );
    return namesOf(
      this.#base,
      { state: this.#onto, lineages: followTables(this.#base, this.#theirs) },
      { state: this.#effective(leftOut), lineages: ours },
    );
  }

  #merge(leftOut: LeftOut): Merged {
    const lost: LostChange[] = [];
    const names = this.#names(leftOut.tables);
    for (const name of settleNames(names, this.#onto)) lost.push(this.#lostName(name));
    for (const [table, reason] of leftOut.tables) lost.push(...this.#lostTable(table, reason));
    const without = (state: SchemaState, gone: ReadonlySet<string>): SchemaState => ({
      ...state,
      objects: state.objects.filter((o) => o.kind === "view" || !gone.has(lower(o.tableName))),
    });
    const droppedBy = (side: "theirs" | "ours", called: "base" | "theirs" | "ours"): Set<string> =>
      new Set(names.flatMap((n) => (n[side] === null && n[called] !== null ? [lower(n[called])] : [])));
    const known = names.filter((n) => n.theirs !== null && n.ours !== null);
    const base = renamedState(
      without(this.#base, new Set([...droppedBy("theirs", "base"), ...droppedBy("ours", "base")])),
      renamingOf(known, "base"),
    );
    const theirs = renamedState(
      without(this.#onto, droppedBy("ours", "theirs")),
      renamingOf(known, "theirs"),
    );
    const dropped = droppedBy("theirs", "ours");
    this.#loseDropped(names, lost);
    const mine = without(this.#effective(leftOut.tables), dropped);
    const renaming = renamingOf(known, "ours");
    const ours = renamedState(mine, { ...renaming, ...this.#makeRoom(mine, known, renaming, lost) });
    const state = new Merger(base, ours, theirs, leftOut.objects, (kind, name, reason, column) =>
      lost.push(this.#lostObject(kind, name, reason, column, known)),
    ).merge();
    return { state, names, base, ours, theirs, lost };
  }

  /** The live file's schema, as if tables that are left out had not been touched. */
  #effective(leftOut: ReadonlyMap<string, string>): SchemaState {
    const lineages = followTables(this.#base, this.#pending);
    const back = new Map<string, SchemaObject>();
    const missing: SchemaObject[] = [];
    for (const table of leftOut.keys()) {
      const was = tablesOf(this.#base).get(table)!;
      const to = lineages.find((l) => l.from !== null && lower(l.from) === table)?.to;
      if (to === null) missing.push(...this.#base.objects.filter((o) => lower(o.tableName) === table));
      else back.set(lower(to ?? was.name), was);
    }
    const objects = this.#live.objects.map((object): SchemaObject => {
      const was = object.kind === "view" ? undefined : back.get(lower(object.tableName));
      if (was === undefined) return object;
      return object.kind === "table" ? was : { ...object, tableName: was.name };
    });
    return { ...this.#live, objects: [...missing, ...objects] };
  }

  /** Tables and columns of ours whose names theirs gave to others step aside, and are lost. */
  #makeRoom(
    mine: SchemaState,
    names: readonly TableNames[],
    renaming: ReturnType<typeof renamingOf>,
    lost: LostChange[],
  ): ReturnType<typeof renamingOf> {
    const tables = new Map(renaming.tables);
    const columns = new Map(renaming.columns);
    const reason = "its name was given to another elsewhere";
    const common = new Set(
      [...renaming.tables].flatMap(([from, to]) => (from === lower(to) ? [] : [lower(to)])),
    );
    for (const [name, table] of tablesOf(mine))
      if (!renaming.tables.has(name) && common.has(name)) {
        tables.set(name, `${LOST}${table.name}`);
        lost.push(this.#lostObject("table", table.name, reason, null, []));
      }
    for (const { ours, columns: list } of names) {
      const table = tablesOf(mine).get(lower(ours!));
      const known = new Map(columns.get(lower(ours!)));
      const taken = new Set(
        list.flatMap((c) => (c.ours === null || lower(c.common) === lower(c.ours) ? [] : [lower(c.common)])),
      );
      for (const column of table === undefined ? [] : columnNames(table))
        if (!known.has(lower(column)) && taken.has(lower(column))) {
          known.set(lower(column), `${LOST}${column}`);
          lost.push(this.#lostName({ table: ours!, column, reason }));
        }
      columns.set(lower(ours!), known);
    }
    return { tables, columns };
  }

  /** What we did to tables that theirs dropped. */
  #loseDropped(names: readonly TableNames[], lost: LostChange[]): void {
    const ours = new Map(
      followTables(this.#base, this.#pending).map((l) => [lower(l.from ?? ""), l.to] as const),
    );
    const dropped = new Set(
      names.flatMap(({ base, theirs }) => {
        const name = ours.has(lower(base)) ? ours.get(lower(base))! : base;
        return theirs === null && name !== null ? [lower(name)] : [];
      }),
    );
    for (const change of this.#pending) {
      const table = this.#tableOf(change);
      if (table !== null && dropped.has(lower(table)))
        lost.push(this.#lostChange(change, `the table ${table} was dropped elsewhere`));
    }
  }

  /** The table of the live file that a change is about; null: none, or it is gone. */
  #tableOf(change: SchemaChange): string | null {
    const tables = tablesOf(this.#live);
    const named =
      change.op === "renameTable"
        ? change.to
        : change.op === "alterTable" || change.op === "createTable"
          ? change.name
          : change.op === "create" || change.op === "replace"
            ? change.tableName
            : null;
    return named === null ? null : (tables.get(lower(named))?.name ?? null);
  }

  #lostChange(change: SchemaChange, reason: string): LostChange {
    const table = this.#tableOf(change);
    const rows = change.op === "createTable" || change.op === "alterTable" || change.op === "renameTable";
    const added =
      change.op === "alterTable" ? change.columns.flatMap(([c, b]) => (b === null ? [c] : [])) : null;
    return { change, reason, table: rows ? table : null, columns: rows ? added : null };
  }

  #lostName({ table, column, reason }: LostName): LostChange {
    const isOf = (c: SchemaChange): boolean =>
      column === null
        ? c.op === "renameTable" && lower(c.to) === lower(table)
        : c.op === "alterTable" && lower(c.name) === lower(table);
    const change = this.#pending.find(isOf) ?? this.#pending[0]!;
    const what = column === null ? `the table's new name ${table}` : `its column's name ${column}`;
    const added =
      column !== null &&
      change.op === "alterTable" &&
      change.columns.some(([c, b]) => b === null && lower(c) === lower(column));
    return {
      change,
      reason: `${what} does not stand: ${reason}`,
      table: added ? table : null,
      columns: added ? [column] : null,
    };
  }

  /** Everything of ours on a table of the base. */
  #lostTable(base: string, reason: string): LostChange[] {
    const to = followTables(this.#base, this.#pending).find(
      (l) => l.from !== null && lower(l.from) === base,
    )?.to;
    return this.#pending.flatMap((change) => {
      const isDrop = change.op === "dropTable" && lower(change.name) === base;
      const isOf =
        (change.op === "alterTable" && lower(change.name) === lower(to ?? base)) ||
        (change.op === "renameTable" && lower(change.to) === lower(to ?? base));
      return isDrop || isOf ? [this.#lostChange(change, reason)] : [];
    });
  }

  /** `name`: in common names, as the merger has it. */
  #lostObject(
    kind: SchemaObject["kind"],
    name: string,
    reason: string,
    column: string | null,
    names: readonly TableNames[],
  ): LostChange {
    const table = names.find((n) => lower(n.common) === lower(name));
    const ours = kind === "table" ? (table?.ours ?? name) : name;
    const isOf = (c: SchemaChange): boolean => {
      if (kind !== "table") return "kind" in c && c.kind === kind && lower(c.name) === lower(ours);
      if (c.op === "renameTable") return lower(c.to) === lower(ours);
      return (c.op === "createTable" || c.op === "alterTable") && lower(c.name) === lower(ours);
    };
    const change = this.#pending.find(isOf) ?? this.#pending[0]!;
    if (kind !== "table") return { change, reason, table: null, columns: null };
    if (table === undefined) return { change, reason, table: ours, columns: null };
    if (column === null) return { change, reason, table: null, columns: null };
    const called = table.columns.find((c) => lower(c.common) === lower(column))?.ours ?? column;
    return { change, reason, table: ours, columns: [called] };
  }

  /** Finds something of ours with which the merged schema does not work. False: it works. */
  #leaveOut({ state, names, base, theirs }: Merged, leftOut: LeftOut): boolean {
    const broken = brokenObjects(state);
    for (const object of state.objects)
      if (/"__marmot__(?:lost|gone)_/.test(object.sql))
        broken.set(keyOf(object), { object, why: "it names a column that does not stand", isRefused: true });
    if (broken.size === 0) return false;
    const [brokenThere, brokenHere] = [brokenObjects(this.#onto), brokenObjects(this.#live)];
    const find = (of: SchemaState, key: string): SchemaObject | undefined =>
      of.objects.find((o) => keyOf(o) === key);
    let found = false;
    for (const [key, { object, why, isRefused }] of broken) {
      const reason = `it does not go together with what was changed elsewhere: ${why}`;
      const there = find(theirs, key);
      const isTheirs = there !== undefined && there.sql === object.sql;
      // It did not work before, either.
      const was = (isTheirs ? brokenThere : object.kind === "table" ? undefined : brokenHere)?.get(key);
      if (was !== undefined && (was.isRefused || !isRefused)) continue;
      const onTables = names.filter(
        (n) =>
          !leftOut.tables.has(lower(n.base)) &&
          this.#touches(n.base) &&
          (lower(n.common) === lower(object.tableName) ||
            mentions(object.sql, n.common) ||
            mentions(object.sql, n.theirs ?? n.base)),
      );
      if (object.kind !== "table" && !isTheirs && !leftOut.objects.has(key)) {
        leftOut.objects.set(key, reason);
        found = true;
      } else if (onTables.length > 0) {
        for (const { base: table } of onTables) leftOut.tables.set(lower(table), reason);
        found = true;
      } else if (!isTheirs && find(base, key) === undefined && !leftOut.objects.has(key)) {
        leftOut.objects.set(key, reason);
        found = true;
      }
    }
    return found;
  }

  /** Whether we changed a table of the base. */
  #touches(base: string): boolean {
    return followTables(this.#base, this.#pending).some(
      (l) => l.from !== null && lower(l.from) === lower(base),
    );
  }

  #result(merged: Merged): Rebased {
    const { state: target, names, lost } = merged;
    const changes = changesBetween(this.#onto, target, this.#ontoTargets(names, target));
    const live = changesBetween(this.#live, target, this.#liveTargets(names, target, merged));
    return { changes, target, live, lost };
  }

  #ontoTargets(names: readonly TableNames[], target: SchemaState): Map<string, TableTarget> {
    const targets = new Map<string, TableTarget>();
    const byTheirs = new Map(
      names.flatMap((n) => (n.theirs === null ? [] : [[lower(n.theirs), n] as const])),
    );
    const after = tablesOf(target);
    for (const [name, table] of tablesOf(this.#onto)) {
      const known = byTheirs.get(name);
      if (known !== undefined && known.ours === null) continue;
      const to = after.get(lower(known?.common ?? table.name));
      if (to === undefined || !isSameKind(table, to)) continue;
      const there = new Map(columnsOf(table).map((c) => [lower(c), c]));
      const own = new Set(known?.columns.flatMap((c) => (c.theirs === null ? [] : [lower(c.theirs)])));
      const columns = columnsOf(to).map((column): ColumnOrigin => {
        const from = known?.columns.find((c) => c.theirs !== null && lower(c.common) === lower(column));
        if (from !== undefined) return [column, there.get(lower(from.theirs!)) ?? null];
        return [column, own.has(lower(column)) ? null : (there.get(lower(column)) ?? null)];
      });
      targets.set(name, { to: to.name, columns });
    }
    return targets;
  }

  /** `merged`: null when nothing of ours stands. */
  #liveTargets(
    names: readonly TableNames[],
    target: SchemaState,
    merged: Merged | null,
  ): Map<string, TableTarget> {
    const targets = new Map<string, TableTarget>();
    const real = followTables(this.#base, this.#pending);
    const after = tablesOf(target);
    const taken = new Set<string>();
    const born = new Map(
      real.flatMap((l) => (l.from === null || l.to === null ? [] : [[lower(l.to), l] as const])),
    );
    for (const [name, table] of tablesOf(this.#live)) {
      const lineage = born.get(name);
      const isCreated = real.some((l) => l.from === null && l.to !== null && lower(l.to) === name);
      const known = isCreated
        ? undefined
        : names.find((n) => lower(n.base) === lower(lineage?.from ?? table.name));
      if (known !== undefined && known.theirs === null) continue;
      const to = after.get(lower(known?.common ?? table.name));
      if (to === undefined || !isSameKind(table, to) || taken.has(lower(to.name))) continue;
      if (known === undefined && !isVirtual(table) && !sameTable(to.sql, table.sql)) {
        // Made on both sides: only if it came out as ours are its rows these.
        const mine = merged?.ours.objects.find((o) => o.kind === "table" && lower(o.name) === lower(to.name));
        if (mine === undefined || !sameTable(mine.sql, to.sql)) continue;
      }
      taken.add(lower(to.name));
      targets.set(name, {
        to: to.name,
        columns: this.#liveColumns(table, to, lineage?.columns, known, merged),
      });
    }
    return targets;
  }

  #liveColumns(
    table: SchemaObject,
    to: SchemaObject,
    lineage: readonly ColumnOrigin[] | undefined,
    known: TableNames | undefined,
    merged: Merged | null,
  ): ColumnOrigin[] {
    const mine = columnsOf(table);
    const fromBase = new Map((lineage ?? mine.map((c) => [c, c] as const)).map(([c, b]) => [lower(c), b]));
    const added = new Map(
      mine.flatMap((c) => (fromBase.get(lower(c)) == null ? [[lower(c), c] as const] : [])),
    );
    const find = (state: SchemaState | undefined, column: string): string | undefined => {
      const object = state?.objects.find((o) => o.kind === "table" && lower(o.name) === lower(to.name));
      return object === undefined ? undefined : columnsOf(object).find((c) => lower(c) === lower(column));
    };
    return columnsOf(to).map((column): ColumnOrigin => {
      if (known === undefined) return [column, mine.find((c) => lower(c) === lower(column)) ?? null];
      const from = known.columns.find((c) => c.theirs !== null && lower(c.common) === lower(column));
      if (from !== undefined) return [column, mine.find((c) => fromBase.get(lower(c)) === from.base) ?? null];
      // Added on this side, and by its name not taken for another's.
      if (merged === null || find(merged.ours, column) === undefined) return [column, null];
      return [column, added.get(lower(column)) ?? null];
    });
  }
}

const isSameKind = (a: SchemaObject, b: SchemaObject): boolean =>
  isVirtual(a) === isVirtual(b) && (!isVirtual(a) || a.sql === b.sql);

type Lose = (kind: SchemaObject["kind"], name: string, reason: string, column: string | null) => void;

/** Three catalogues in common names. */
class Merger {
  readonly #base: SchemaState;
  readonly #ours: SchemaState;
  readonly #theirs: SchemaState;
  readonly #leftOut: ReadonlyMap<string, string>;
  readonly #lose: Lose;

  constructor(
    base: SchemaState,
    ours: SchemaState,
    theirs: SchemaState,
    leftOut: ReadonlyMap<string, string>,
    lose: Lose,
  ) {
    this.#base = base;
    this.#ours = ours;
    this.#theirs = theirs;
    this.#leftOut = leftOut;
    this.#lose = lose;
  }

  merge(): SchemaState {
    const byKey = (state: SchemaState): Map<string, SchemaObject> =>
      new Map(state.objects.map((o) => [keyOf(o), o]));
    const [base, ours, theirs] = [byKey(this.#base), byKey(this.#ours), byKey(this.#theirs)];
    const objects: SchemaObject[] = [];
    for (const [key, their] of theirs) {
      const merged = this.#mergeOne(base.get(key), ours.get(key), their);
      if (merged !== null) objects.push(merged);
    }
    for (const [key, our] of ours) if (!theirs.has(key)) this.#add(objects, base.get(key), our);
    const works = new Set(settled(objects));
    for (const object of objects)
      if (!works.has(object) && !theirs.has(keyOf(object)))
        this.#lose(object.kind, object.name, "what it stands on does not stand", null);
    const { userVersion, applicationId } = this.#ours;
    return {
      objects: settled(objects),
      // Migrations count it up: the file went through the higher number's.
      userVersion:
        userVersion === this.#base.userVersion
          ? this.#theirs.userVersion
          : Math.max(userVersion, this.#theirs.userVersion),
      applicationId:
        this.#theirs.applicationId === this.#base.applicationId ? applicationId : this.#theirs.applicationId,
    };
  }

  /** null: it goes. */
  #mergeOne(
    base: SchemaObject | undefined,
    our: SchemaObject | undefined,
    their: SchemaObject,
  ): SchemaObject | null {
    const isStranded = their.kind !== "table" && our?.sql.includes(LOST) === true;
    const why = isStranded ? "what it stands on does not stand" : this.#leftOut.get(keyOf(their));
    if (why !== undefined) {
      this.#lose(their.kind, their.name, why, null);
      return their;
    }
    // Ours dropped it, which comes later in the order than what theirs made of it.
    if (our === undefined) return base === undefined ? their : null;
    const same = (a: SchemaObject, b: SchemaObject): boolean =>
      a.kind === "table" ? sameTable(a.sql, b.sql) : sameTokens(a.sql, b.sql);
    if (same(our, their)) return their;
    if (base !== undefined && same(our, base)) return their;
    if (base !== undefined && same(their, base)) return our;
    if (base === undefined || their.kind !== "table" || isVirtual(their) || isVirtual(our)) {
      const how = base === undefined ? "made" : "changed";
      this.#lose(their.kind, their.name, `${their.kind} ${their.name} was ${how} otherwise elsewhere`, null);
      return their;
    }
    const { sql, lost } = mergeTable(base.sql, our.sql, their.sql);
    for (const { column, reason } of lost) this.#lose("table", their.name, reason, column);
    return { ...their, sql };
  }

  /** An object that only we have. */
  #add(objects: SchemaObject[], base: SchemaObject | undefined, our: SchemaObject): void {
    const { kind, name, sql } = our;
    if (name.startsWith(LOST)) return;
    if (base !== undefined) {
      if (base.sql !== sql) this.#lose(kind, name, `${kind} ${name} was dropped elsewhere`, null);
      return;
    }
    const why = this.#leftOut.get(keyOf(our));
    const there = (o: SchemaObject): boolean => o.name.toLowerCase() === name.toLowerCase();
    const taken = objects.find((o) => (o.kind === "trigger") === (kind === "trigger") && there(o));
    if (why !== undefined) this.#lose(kind, name, why, null);
    else if (taken !== undefined)
      this.#lose(kind, name, `there is a ${taken.kind} ${taken.name} already`, null);
    else objects.push(our);
  }
}
