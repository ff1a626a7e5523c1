/** Three catalogues in common names, merged object by object. */
import { foldName } from "../../base/names.ts";
import { isVirtual } from "../virtual-tables.ts";
import type { SchemaObject } from "../../sqlite/schema.ts";
import type { SchemaState } from "../diff/change.ts";
import { keyOf } from "./check-state.ts";
import { inReadOrder } from "../diff/evolve.ts";
import { extendsTable, LOST, mergeTable, sameTable } from "./merge-table.ts";
import { sameTokens } from "../../sqlite/ddl-text/table-text.ts";

/** Told of what of ours does not stand. `column`: of a table of both sides, in common names. */
export type Lose = (kind: SchemaObject["kind"], name: string, reason: string, column: string | null) => void;

/** Three catalogues in common names. */
export class Merger {
  readonly #base: SchemaState;
  readonly #ours: SchemaState;
  readonly #theirs: SchemaState;
  readonly #rejected: ReadonlyMap<string, string>;
  readonly #lose: Lose;

  constructor(
    base: SchemaState,
    ours: SchemaState,
    theirs: SchemaState,
    rejected: ReadonlyMap<string, string>,
    lose: Lose,
  ) {
    this.#base = base;
    this.#ours = ours;
    this.#theirs = theirs;
    this.#rejected = rejected;
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
    const works = new Set(inReadOrder(objects));
    for (const object of objects)
      if (!works.has(object) && !theirs.has(keyOf(object)))
        this.#lose(object.kind, object.name, "what it stands on does not stand", null);
    const { userVersion, applicationId } = this.#ours;
    return {
      objects: inReadOrder(objects),
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
    const why = isStranded ? "what it stands on does not stand" : this.#rejected.get(keyOf(their));
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
    if (base === undefined && their.kind === "table") {
      // The same migrations on both, one of them further through: no other table, but this one altered.
      if (extendsTable(our.sql, their.sql)) return { ...our, name: their.name, tableName: their.tableName };
      if (extendsTable(their.sql, our.sql)) return their;
    }
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
    // Theirs dropped it; what ours made of it meanwhile is made again.
    if (base !== undefined && sameTokens(base.sql, sql)) return;
    const why = this.#rejected.get(keyOf(our));
    const there = (o: SchemaObject): boolean => foldName(o.name) === foldName(name);
    const taken = objects.find((o) => (o.kind === "trigger") === (kind === "trigger") && there(o));
    if (why !== undefined) this.#lose(kind, name, why, null);
    else if (taken !== undefined)
      this.#lose(kind, name, `there is a ${taken.kind} ${taken.name} already`, null);
    else objects.push(our);
  }
}
