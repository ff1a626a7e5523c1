/** What a case has, and how much of it. Not everything in every case: some things only show when others do not hide them. */
import { Random } from "../../src/base/random.ts";

/** Parts that the product may not have: a switch each. */
export interface Options {
  /** Tables without a declared key. */
  readonly keyless: boolean;
  /** Schema changes while the cluster runs. */
  readonly migrations: boolean;
  /** Functions of the applications outside of CHECKs, and NULL in keys for a moment. */
  readonly later?: boolean;
}

const LATER = 1_000_003;

/** Chances. */
export interface Features {
  readonly oddNames: number;
  readonly strict: number;
  readonly withoutRowid: number;
  readonly autoincrement: number;
  readonly keyless: number;
  readonly references: number;
  /** `foreign_keys` is on all the time. */
  readonly enforced: boolean;
  readonly generated: number;
  readonly uniques: number;
  readonly checks: number;
  readonly indexes: number;
  readonly expressions: number;
  readonly partial: number;
  /** Of index terms that fail for some values, most with a condition that leaves these out. */
  readonly failing: number;
  /** Of CHECKs with a function that only the application has. */
  readonly ownFunctions: number;
  /** The nodes have the function of the applications; see `NODE_FUNCTION`. */
  readonly nodeFunctions: boolean;
  /** Of functions of the applications in indexes and generated columns, as far as the nodes can write these. */
  readonly functionsAnywhere: number;
  /** Of transactions that put NULL into a key for a moment. */
  readonly nullKeys: number;
  /** Draws what came later, so that older draws of a seed stay as they were. */
  readonly later: Random;
  readonly defaults: number;
  readonly triggers: number;
  readonly views: number;
  readonly search: number;
  /** Tables with many columns. */
  readonly wide: boolean;
  /**
   * No BLOBs: in a UTF-16 file SQLite reads a BLOB argument of a text function differently when it is bound than when
   * it is a literal or comes from a row. So the result would depend on how the value was written.
   */
  readonly bloblessly: boolean;
  /** Of values that are extreme or do not fit. */
  readonly oddValues: number;
  readonly nulls: number;
  readonly migrations: number;
  /** Nothing is compared with another file: the order in which SQLite meets hidden rowids may count. */
  readonly anyOrder?: boolean;
}

export function drawFeatures(random: Random, options: Options, wideText: boolean, seed = 0): Features {
  const later = new Random(seed + LATER);
  const isLater = options.later === true;
  const some = (chance: number, amount: number): number => (random.chance(chance) ? amount : 0);
  const bloblessly = wideText && random.chance(0.6);
  const functions = (chance: number, amount: number): number =>
    wideText && !bloblessly ? 0 : some(chance, amount);
  return {
    bloblessly,
    oddNames: random.pick([0, 0.2, 0.7]),
    strict: some(0.4, 0.5),
    withoutRowid: random.pick([0, 0.5, 1]),
    autoincrement: some(0.3, 0.7),
    keyless: some(options.keyless ? 0.35 : 0, 0.6),
    references: some(0.5, 0.6),
    enforced: random.chance(0.4),
    generated: functions(0.4, 0.4),
    uniques: some(0.6, 0.5),
    checks: some(0.3, 0.5),
    indexes: some(0.6, 0.5),
    expressions: functions(0.5, 0.5),
    partial: some(0.5, 0.5),
    defaults: some(0.5, 0.5),
    triggers: some(0.6, 0.6),
    views: some(0.3, 0.6),
    search: functions(0.25, 0.8),
    wide: random.chance(0.04),
    oddValues: random.pick([0, 0.1, 0.4]),
    nulls: random.pick([0, 0.1, 0.3]),
    migrations: some(options.migrations ? 0.25 : 0, 0.25),
    failing: functions(0.35, 0.5),
    ownFunctions: functions(0.25, 0.6),
    later,
    nodeFunctions: later.chance(0.6) && isLater,
    functionsAnywhere: later.chance(0.3) && isLater ? 0.6 : 0,
    nullKeys: later.chance(0.5) && isLater ? 0.4 : 0,
  };
}
