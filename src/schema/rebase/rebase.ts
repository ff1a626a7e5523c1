/**
 * This node's schema changes put on top of what the cluster decided meanwhile. Base, ours and theirs are brought to common
 * names, then merged object by object and, within a table, part by part. What both made differently stands as theirs.
 */
import { foldName } from "../../base/names.ts";
import { errorMessage } from "../../base/errors.ts";
import type { SchemaObject } from "../../sqlite/schema.ts";
import { mentions } from "../../sqlite/ddl-text/index-text.ts";
import { isVirtual, withoutShadowTables } from "../virtual-tables.ts";
import type { RejectedChange, SchemaChange, SchemaState } from "../diff/change.ts";
import { brokenObjects, keyOf } from "./check-state.ts";
import {
  columnNames,
  type LostName,
  namesOf,
  renamingOf,
  settleNames,
  type TableNames,
} from "./common-names.ts";
import { changesBetween, compareCatalogues, tablesOf } from "../diff/diff.ts";
import { changeCatalogue, followTables, sameSchema } from "../diff/evolve.ts";
import { Merger } from "./merge-catalogues.ts";
import { LOST } from "./merge-table.ts";
import { appDbTargets, ontoTargets } from "./targets.ts";
import { renamedState } from "./renamed-state.ts";

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
  readonly appDb: readonly SchemaChange[];
  readonly lost: readonly RejectedChange[];
}

const plain = (state: SchemaState): SchemaState => ({
  ...state,
  objects: withoutShadowTables(state.objects),
});

export function rebaseChanges({ base, pending, onto, theirs }: RebaseInput): Rebased {
  const appDb = changeCatalogue(base, pending);
  const isTold = theirs !== undefined && sameSchema(changeCatalogue(base, theirs), onto);
  const known = isTold ? theirs : compareCatalogues(base, onto, []);
  const target = plain(onto);
  if (pending.length === 0) return { changes: [], target, appDb: known, lost: [] };
  if (known.length === 0) return { changes: pending, target: appDb, appDb: [], lost: [] };
  return new Rebase(plain(base), appDb, target, pending, known).run();
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
  readonly lost: RejectedChange[];
}

class Rebase {
  readonly #base: SchemaState;
  readonly #appDb: SchemaState;
  readonly #onto: SchemaState;
  readonly #pending: readonly SchemaChange[];
  readonly #theirs: readonly SchemaChange[];

  constructor(
    base: SchemaState,
    appDb: SchemaState,
    onto: SchemaState,
    pending: readonly SchemaChange[],
    theirs: readonly SchemaChange[],
  ) {
    this.#base = base;
    this.#appDb = appDb;
    this.#onto = onto;
    this.#pending = pending;
    this.#theirs = theirs;
  }

  run(): Rebased {
    const rejected: LeftOut = { tables: new Map(), objects: new Map() };
    // Each round leaves out something more of ours; without any of it theirs stands, which works.
    for (let round = 0; round <= this.#base.objects.length + this.#appDb.objects.length; round++) {
      let merged: Merged;
      try {
        merged = this.#merge(rejected);
      } catch (error) {
        return this.#nothing(errorMessage(error));
      }
      const verdict = this.#leaveOut(merged, rejected);
      if (verdict === "stuck" || (verdict === "works" && this.#losesTables(merged))) break;
      if (verdict === "works") return this.#result(merged);
      this.#leaveOutBeside(rejected.tables);
    }
    return this.#nothing("it does not go together with what was changed elsewhere");
  }

  /** Tables that took the names of those that are left out. */
  #leaveOutBeside(rejected: Map<string, string>): void {
    const lineages = followTables(this.#base, this.#pending);
    for (let found = true; found;) {
      found = false;
      for (const { from, to } of lineages) {
        if (from === null || to === null || rejected.has(foldName(from)) || !rejected.has(foldName(to)))
          continue;
        rejected.set(foldName(from), "another table is called so again");
        found = true;
      }
    }
  }

  /** Whether a table of theirs would be gone that we did not drop: whatever goes wrong, no rows go with it. */
  #losesTables({ state, names }: Merged): boolean {
    const kept = ontoTargets(this.#onto, names, state);
    const dropped = new Set(
      followTables(this.#base, this.#pending).flatMap((l) => (l.to === null ? [foldName(l.from!)] : [])),
    );
    const bases = new Map(
      names.flatMap((n) => (n.theirs === null ? [] : [[foldName(n.theirs), foldName(n.base)] as const])),
    );
    return [...tablesOf(this.#onto)].some(
      ([name, table]) => !isVirtual(table) && !kept.has(name) && !dropped.has(bases.get(name) ?? ""),
    );
  }

  /** Theirs alone. */
  #nothing(reason: string): Rebased {
    const lost = this.#pending.map((change) => this.#lostChange(change, reason));
    const names = this.#names(new Map());
    for (const name of names) name.common = name.theirs ?? name.base;
    const appDb = changesBetween(
      this.#appDb,
      this.#onto,
      appDbTargets(this.#base, this.#pending, names, this.#onto, null),
    );
    return { changes: [], target: this.#onto, appDb, lost };
  }

  #names(rejected: ReadonlyMap<string, string>): TableNames[] {
    const ours = followTables(this.#base, this.#pending).filter(
      (l) => l.from === null || !rejected.has(foldName(l.from)),
    );
    return namesOf(
      this.#base,
      { state: this.#onto, lineages: followTables(this.#base, this.#theirs) },
      { state: this.#effective(rejected), lineages: ours },
    );
  }

  #merge(rejected: LeftOut): Merged {
    const lost: RejectedChange[] = [];
    const names = this.#names(rejected.tables);
    for (const name of settleNames(names, this.#onto, this.#effective(rejected.tables)))
      lost.push(this.#lostName(name));
    for (const [table, reason] of rejected.tables) lost.push(...this.#lostTable(table, reason));
    for (const table of this.#crowdedOut(rejected.tables))
      lost.push(this.#lostObject("table", table, "another table is called so again", null, []));
    const without = (state: SchemaState, gone: ReadonlySet<string>): SchemaState => ({
      ...state,
      objects: state.objects.filter((o) => o.kind === "view" || !gone.has(foldName(o.tableName))),
    });
    const droppedBy = (side: "theirs" | "ours", called: "base" | "theirs" | "ours"): Set<string> =>
      new Set(names.flatMap((n) => (n[side] === null && n[called] !== null ? [foldName(n[called])] : [])));
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
    const mine = without(this.#effective(rejected.tables), dropped);
    const renaming = renamingOf(known, "ours");
    const ours = renamedState(mine, { ...renaming, ...this.#makeRoom(mine, known, renaming, lost) });
    const state = new Merger(base, ours, theirs, rejected.objects, (kind, name, reason, column) =>
      lost.push(this.#lostObject(kind, name, reason, column, known)),
    ).merge();
    return { state, names, base, ours, theirs, lost };
  }

  /** The live file's schema, as if tables that are left out had not been touched. */
  #effective(rejected: ReadonlyMap<string, string>): SchemaState {
    const lineages = followTables(this.#base, this.#pending);
    const back = new Map<string, SchemaObject>();
    const missing: SchemaObject[] = [];
    for (const table of rejected.keys()) {
      const was = tablesOf(this.#base).get(table)!;
      const to = lineages.find((l) => l.from !== null && foldName(l.from) === table)?.to;
      if (to === null) missing.push(...this.#base.objects.filter((o) => foldName(o.tableName) === table));
      else back.set(foldName(to ?? was.name), was);
    }
    const crowded = new Set(this.#crowdedOut(rejected).map(foldName));
    const kept = this.#appDb.objects.filter((o) => o.kind === "view" || !crowded.has(foldName(o.tableName)));
    const objects = kept.map((object): SchemaObject => {
      const was = object.kind === "view" ? undefined : back.get(foldName(object.tableName));
      if (was === undefined) return object;
      return object.kind === "table" ? was : { ...object, tableName: was.name };
    });
    return { ...this.#appDb, objects: [...missing, ...objects] };
  }

  /** Tables that we made under the names of others that are left out, and so called that again. */
  #crowdedOut(rejected: ReadonlyMap<string, string>): string[] {
    return followTables(this.#base, this.#pending).flatMap(({ from, to }) =>
      from === null && to !== null && rejected.has(foldName(to)) ? [to] : [],
    );
  }

  /** Tables and columns of ours whose names theirs gave to others step aside, and are lost. */
  #makeRoom(
    mine: SchemaState,
    names: readonly TableNames[],
    renaming: ReturnType<typeof renamingOf>,
    lost: RejectedChange[],
  ): ReturnType<typeof renamingOf> {
    const tables = new Map(renaming.tables);
    const columns = new Map(renaming.columns);
    const reason = "its name was given to another elsewhere";
    const common = new Set(
      [...renaming.tables].flatMap(([from, to]) => (from === foldName(to) ? [] : [foldName(to)])),
    );
    for (const [name, table] of tablesOf(mine))
      if (!renaming.tables.has(name) && common.has(name)) {
        tables.set(name, `${LOST}${table.name}`);
        lost.push(this.#lostObject("table", table.name, reason, null, []));
      }
    for (const { ours, columns: list } of names) {
      const table = tablesOf(mine).get(foldName(ours!));
      const known = new Map(columns.get(foldName(ours!)));
      const taken = new Set(
        list.flatMap((c) => (foldName(c.common) === foldName(c.ours ?? c.base) ? [] : [foldName(c.common)])),
      );
      for (const column of table === undefined ? [] : columnNames(table))
        if (!known.has(foldName(column)) && taken.has(foldName(column))) {
          known.set(foldName(column), `${LOST}${column}`);
          lost.push(this.#lostName({ table: ours!, column, reason }));
        }
      columns.set(foldName(ours!), known);
    }
    return { tables, columns };
  }

  /** What we did to tables that theirs dropped. */
  #loseDropped(names: readonly TableNames[], lost: RejectedChange[]): void {
    const ours = new Map(
      followTables(this.#base, this.#pending).map((l) => [foldName(l.from ?? ""), l.to] as const),
    );
    const dropped = new Set(
      names.flatMap(({ base, theirs }) => {
        const name = ours.has(foldName(base)) ? ours.get(foldName(base))! : base;
        return theirs === null && name !== null ? [foldName(name)] : [];
      }),
    );
    for (const change of this.#pending) {
      const table = this.#tableOf(change);
      if (table !== null && dropped.has(foldName(table)))
        lost.push(this.#lostChange(change, `the table ${table} was dropped elsewhere`));
    }
  }

  /** The table of the live file that a change is about; null: none, or it is gone. */
  #tableOf(change: SchemaChange): string | null {
    const tables = tablesOf(this.#appDb);
    const named =
      change.op === "renameTable"
        ? change.to
        : change.op === "alterTable" || change.op === "createTable"
          ? change.name
          : change.op === "create" || change.op === "replace"
            ? change.tableName
            : null;
    return named === null ? null : (tables.get(foldName(named))?.name ?? null);
  }

  #lostChange(change: SchemaChange, reason: string): RejectedChange {
    const table = this.#tableOf(change);
    const rows = change.op === "createTable" || change.op === "alterTable" || change.op === "renameTable";
    const added =
      change.op === "alterTable" ? change.columns.flatMap(([c, b]) => (b === null ? [c] : [])) : null;
    return { change, reason, table: rows ? table : null, columns: rows ? added : null };
  }

  #lostName({ table, column, reason }: LostName): RejectedChange {
    const isOf = (c: SchemaChange): boolean =>
      column === null
        ? c.op === "renameTable" && foldName(c.to) === foldName(table)
        : c.op === "alterTable" && foldName(c.name) === foldName(table);
    const change = this.#pending.find(isOf) ?? this.#pending[0]!;
    const what = column === null ? `the table's new name ${table}` : `its column's name ${column}`;
    const added =
      column !== null &&
      change.op === "alterTable" &&
      change.columns.some(([c, b]) => b === null && foldName(c) === foldName(column));
    return {
      change,
      reason: `${what} does not stand: ${reason}`,
      table: added ? table : null,
      columns: added ? [column] : null,
    };
  }

  /** Everything of ours on a table of the base. */
  #lostTable(base: string, reason: string): RejectedChange[] {
    const to = followTables(this.#base, this.#pending).find(
      (l) => l.from !== null && foldName(l.from) === base,
    )?.to;
    return this.#pending.flatMap((change) => {
      const isDrop = change.op === "dropTable" && foldName(change.name) === base;
      const isOf =
        (change.op === "alterTable" && foldName(change.name) === foldName(to ?? base)) ||
        (change.op === "renameTable" && foldName(change.to) === foldName(to ?? base));
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
  ): RejectedChange {
    const table = names.find((n) => foldName(n.common) === foldName(name));
    const ours = kind === "table" ? (table?.ours ?? name) : name;
    const isOf = (c: SchemaChange): boolean => {
      if (kind !== "table") return "kind" in c && c.kind === kind && foldName(c.name) === foldName(ours);
      if (c.op === "renameTable") return foldName(c.to) === foldName(ours);
      return (c.op === "createTable" || c.op === "alterTable") && foldName(c.name) === foldName(ours);
    };
    const change = this.#pending.find(isOf) ?? this.#pending[0]!;
    if (kind !== "table") return { change, reason, table: null, columns: null };
    if (table === undefined) return { change, reason, table: ours, columns: null };
    if (column === null) return { change, reason, table: null, columns: null };
    const called = table.columns.find((c) => foldName(c.common) === foldName(column))?.ours ?? column;
    return { change, reason, table: ours, columns: [called] };
  }

  /** Finds what of ours the merged schema does not work with: then "again". "stuck": it is none of ours alone. */
  #leaveOut({ state, names, base, theirs }: Merged, rejected: LeftOut): "works" | "again" | "stuck" {
    const broken = brokenObjects(state);
    for (const object of state.objects)
      if (/"__marmot__(?:lost|gone)_/.test(object.sql))
        broken.set(keyOf(object), { object, why: "it names a column that does not stand", isRefused: true });
    if (broken.size === 0) return "works";
    const [brokenThere, brokenHere] = [brokenObjects(this.#onto), brokenObjects(this.#appDb)];
    const find = (of: SchemaState, key: string): SchemaObject | undefined =>
      of.objects.find((o) => keyOf(o) === key);
    let found = false;
    let isStuck = false;
    for (const [key, { object, why, isRefused }] of broken) {
      const reason = `it does not go together with what was changed elsewhere: ${why}`;
      const there = find(theirs, key);
      const isTheirs = there !== undefined && there.sql === object.sql;
      // It did not work before, either.
      const was = (isTheirs ? brokenThere : object.kind === "table" ? undefined : brokenHere)?.get(key);
      if (was !== undefined && (was.isRefused || !isRefused)) continue;
      const onTables = names.filter(
        (n) =>
          !rejected.tables.has(foldName(n.base)) &&
          this.#touches(n.base) &&
          (foldName(n.common) === foldName(object.tableName) ||
            mentions(object.sql, n.common) ||
            mentions(object.sql, n.theirs ?? n.base)),
      );
      const isOurs = !isTheirs && !rejected.objects.has(key);
      if (isOurs && (object.kind !== "table" || find(base, key) === undefined))
        rejected.objects.set(key, reason);
      else if (onTables.length > 0)
        for (const { base: table } of onTables) rejected.tables.set(foldName(table), reason);
      else {
        // What can be made but does not work is left as SQLite itself would leave it.
        isStuck ||= isRefused;
        continue;
      }
      found = true;
    }
    return found ? "again" : isStuck ? "stuck" : "works";
  }

  /** Whether we changed a table of the base. */
  #touches(base: string): boolean {
    return followTables(this.#base, this.#pending).some(
      (l) => l.from !== null && foldName(l.from) === foldName(base),
    );
  }

  #result(merged: Merged): Rebased {
    const { state: target, names, lost } = merged;
    const changes = changesBetween(this.#onto, target, ontoTargets(this.#onto, names, target));
    const appDb = changesBetween(
      this.#appDb,
      target,
      appDbTargets(this.#base, this.#pending, names, target, merged.ours),
    );
    return { changes, target, appDb, lost };
  }
}
