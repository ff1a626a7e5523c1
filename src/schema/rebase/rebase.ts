/**
 * Puts this node's schema changes on top of the changes that the cluster accepted before them. The base, this node's schema
 * ("ours") and the cluster's ("theirs") get common names. They are then merged object by object, and a table part by part.
 * Where both sides changed the same part differently, theirs wins.
 */
import { foldName } from "../../base/names.ts";
import { errorMessage, UserError } from "../../base/errors.ts";
import { isVirtual, withoutShadowTables } from "../virtual-tables.ts";
import type { RejectedChange, SchemaChange, SchemaState } from "../diff/change.ts";
import { changesBetween, compareCatalogues, tablesOf } from "../diff/diff.ts";
import { changeCatalogue, followTables, sameSchema } from "../diff/evolve.ts";
import { type Merged, mergeSides, namesOnBothSides } from "./merge-sides.ts";
import { rejectBroken, rejectNameTakers } from "./reject-broken.ts";
import { rejectedChange } from "./rejected-changes.ts";
import type { RejectedParts, Sides } from "./sides.ts";
import { appDbTargets, ontoTargets } from "./targets.ts";

export interface RebaseInput {
  /** The schema that the app database last reflected. */
  readonly base: SchemaState;
  /** The changes from `base` to the app database's present schema. */
  readonly pending: readonly SchemaChange[];
  /** The cluster's present schema. */
  readonly onto: SchemaState;
  /** The changes from `base` to `onto`. Without them a rename is taken for a drop and a create. */
  readonly theirs?: readonly SchemaChange[];
}

export interface Rebased {
  /** The remaining changes of this node on top of `onto`. */
  readonly changes: readonly SchemaChange[];
  /** The schema that the app database must get: `onto` with `changes`. */
  readonly target: SchemaState;
  /** From the app database's present schema to `target`. */
  readonly appDb: readonly SchemaChange[];
  readonly rejected: readonly RejectedChange[];
}

const plain = (state: SchemaState): SchemaState => ({
  ...state,
  objects: withoutShadowTables(state.objects),
});

export function rebaseChanges({ base, pending, onto, theirs }: RebaseInput): Rebased {
  const appDb = changeCatalogue(base, pending);
  const isKnown = theirs !== undefined && leadsTo(base, theirs, onto);
  const known = isKnown ? theirs : compareCatalogues(base, onto, []);
  const target = plain(onto);
  if (pending.length === 0) return { changes: [], target, appDb: known, rejected: [] };
  if (known.length === 0) return { changes: pending, target: appDb, appDb: [], rejected: [] };
  const plainBase = plain(base);
  return rebase({
    base: plainBase,
    appDb,
    pending,
    lineages: followTables(plainBase, pending),
    onto: target,
    theirLineages: followTables(plainBase, known),
  });
}

/** Not where the file keeps tables in an older form than the cluster: then changes may not even fit. */
function leadsTo(base: SchemaState, changes: readonly SchemaChange[], onto: SchemaState): boolean {
  try {
    return sameSchema(changeCatalogue(base, changes), onto);
  } catch (error) {
    if (error instanceof UserError) return false;
    throw error;
  }
}

function rebase(sides: Sides): Rebased {
  const parts: RejectedParts = { tables: new Map(), objects: new Map() };
  // Each round rejects one more part of ours. Theirs without any part of ours works, so the rounds end.
  for (let round = 0; round <= sides.base.objects.length + sides.appDb.objects.length; round++) {
    let merged: Merged;
    try {
      merged = mergeSides(sides, parts);
    } catch (error) {
      return theirsAlone(sides, errorMessage(error));
    }
    const outcome = rejectBroken(sides, merged, parts);
    if (outcome === "stuck" || (outcome === "works" && dropsTableOfTheirs(sides, merged))) break;
    if (outcome === "works") return resultOf(sides, merged);
    rejectNameTakers(sides, parts.tables);
  }
  return theirsAlone(sides, "it conflicts with schema changes of other nodes");
}

/** Whether a table of theirs would be dropped that we did not drop. No bug in the merge may delete its rows. */
function dropsTableOfTheirs({ onto, lineages }: Sides, { state, names }: Merged): boolean {
  const kept = ontoTargets(onto, names, state);
  const dropped = new Set(lineages.flatMap((l) => (l.to === null ? [foldName(l.from!)] : [])));
  const bases = new Map(
    names.flatMap((n) => (n.theirs === null ? [] : [[foldName(n.theirs), foldName(n.base)] as const])),
  );
  return [...tablesOf(onto)].some(
    ([name, table]) => !isVirtual(table) && !kept.has(name) && !dropped.has(bases.get(name) ?? ""),
  );
}

/** All changes of ours are rejected. */
function theirsAlone(sides: Sides, reason: string): Rebased {
  const { onto, appDb, pending } = sides;
  const names = namesOnBothSides(sides, new Map());
  for (const name of names) name.common = name.theirs ?? name.base;
  return {
    changes: [],
    target: onto,
    appDb: changesBetween(appDb, onto, appDbTargets(sides, { names, target: onto, ours: null })),
    rejected: pending.map((change) => rejectedChange(appDb, change, reason)),
  };
}

function resultOf(sides: Sides, { state: target, names, ours, rejected }: Merged): Rebased {
  return {
    changes: changesBetween(sides.onto, target, ontoTargets(sides.onto, names, target)),
    target,
    appDb: changesBetween(sides.appDb, target, appDbTargets(sides, { names, target, ours })),
    rejected,
  };
}
