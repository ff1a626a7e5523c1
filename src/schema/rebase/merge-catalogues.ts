/** Merges three catalogues in common names, object by object. */
import { foldName } from "../../base/names.ts";
import { isVirtual } from "../virtual-tables.ts";
import type { SchemaObject } from "../../sqlite/schema.ts";
import type { SchemaState } from "../diff/change.ts";
import { keyOf } from "./check-state.ts";
import { inReadOrder } from "../diff/evolve.ts";
import { extendsTable, mergeTable, REJECTED_PREFIX, sameTable } from "./merge-table.ts";
import { sameTokens } from "../../sqlite/ddl-text/table-text.ts";

/** An object of ours that is rejected. Names are common ones. */
export interface RejectedObject {
  readonly kind: SchemaObject["kind"];
  readonly name: string;
  readonly reason: string;
  /** The column, of a table that both sides have, whose values alone are rejected; null: the whole object. */
  readonly column: string | null;
}

interface MergeInput {
  readonly base: SchemaState;
  readonly ours: SchemaState;
  readonly theirs: SchemaState;
  /** Objects of ours, by `keyOf`, that must be rejected, with their reasons. */
  readonly rejected: ReadonlyMap<string, string>;
}

const BASE_REJECTED = "its table or view was rejected";

export class Merger {
  readonly #base: SchemaState;
  readonly #ours: SchemaState;
  readonly #theirs: SchemaState;
  readonly #rejected: ReadonlyMap<string, string>;
  readonly #report: (object: RejectedObject) => void;

  constructor({ base, ours, theirs, rejected }: MergeInput, report: (object: RejectedObject) => void) {
    this.#base = base;
    this.#ours = ours;
    this.#theirs = theirs;
    this.#rejected = rejected;
    this.#report = report;
  }

  #reject({ kind, name }: SchemaObject, reason: string, column: string | null = null): void {
    this.#report({ kind, name, reason, column });
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
      if (!works.has(object) && !theirs.has(keyOf(object))) this.#reject(object, BASE_REJECTED);
    const { userVersion, applicationId } = this.#ours;
    return {
      objects: inReadOrder(objects),
      // Migrations increase it: the file has passed the migration with the higher number.
      userVersion:
        userVersion === this.#base.userVersion
          ? this.#theirs.userVersion
          : Math.max(userVersion, this.#theirs.userVersion),
      applicationId:
        this.#theirs.applicationId === this.#base.applicationId ? applicationId : this.#theirs.applicationId,
    };
  }

  /** null: the merged schema does not have it. */
  #mergeOne(
    base: SchemaObject | undefined,
    our: SchemaObject | undefined,
    their: SchemaObject,
  ): SchemaObject | null {
    const isStranded = their.kind !== "table" && our?.sql.includes(REJECTED_PREFIX) === true;
    const why = isStranded ? BASE_REJECTED : this.#rejected.get(keyOf(their));
    if (why !== undefined) {
      this.#reject(their, why);
      return their;
    }
    // We dropped it, and our change is the later one in the log.
    if (our === undefined) return base === undefined ? their : null;
    const same = (a: SchemaObject, b: SchemaObject): boolean =>
      a.kind === "table" ? sameTable(a.sql, b.sql) : sameTokens(a.sql, b.sql);
    if (same(our, their)) return their;
    if (base !== undefined && same(our, base)) return their;
    if (base !== undefined && same(their, base)) return our;
    if (base === undefined && their.kind === "table") {
      // Both sides ran the same migrations, and one of them ran more: it is the same table, altered.
      if (extendsTable(our.sql, their.sql)) return { ...our, name: their.name, tableName: their.tableName };
      if (extendsTable(their.sql, our.sql)) return their;
    }
    if (base === undefined || their.kind !== "table" || isVirtual(their) || isVirtual(our)) {
      const how = base === undefined ? "created" : "changed";
      this.#reject(their, `${their.kind} ${their.name} was ${how} differently on another node`);
      return their;
    }
    const { sql, rejected } = mergeTable(base.sql, our.sql, their.sql);
    for (const { column, reason } of rejected) this.#reject(their, reason, column);
    return { ...their, sql };
  }

  /** Adds an object that only we have. */
  #add(objects: SchemaObject[], base: SchemaObject | undefined, our: SchemaObject): void {
    const { kind, name, sql } = our;
    if (name.startsWith(REJECTED_PREFIX)) return;
    // They dropped it. If we changed it, our version is created again.
    if (base !== undefined && sameTokens(base.sql, sql)) return;
    const why = this.#rejected.get(keyOf(our));
    const there = (o: SchemaObject): boolean => foldName(o.name) === foldName(name);
    const taken = objects.find((o) => (o.kind === "trigger") === (kind === "trigger") && there(o));
    if (why !== undefined) this.#reject(our, why);
    else if (taken !== undefined) this.#reject(our, `there is already a ${taken.kind} ${taken.name}`);
    else objects.push(our);
  }
}
