/** The plan that a seed draws: a cluster, and a list of timed actions. A plan can be reduced and run again. */
import { Random } from "../../src/base/random.ts";
import { Traffic, type TrafficSchema, type Work } from "../differential/traffic.ts";
import type { NetworkProfile } from "./network.ts";
import type { PowerCut } from "./sim-node.ts";

export type Action =
  /**
   * A transaction of `statements`; `looks` > 0: during the work of the node, at this many looks at the clock;
   * `holdMs` > 0: the time that it stays open.
   */
  | {
      readonly kind: "write";
      readonly node: number;
      readonly statements: number;
      readonly looks: number;
      readonly holdMs: number;
      readonly rollback: boolean;
      readonly bulk: boolean;
      /** In a plan with a generated schema: the statements. */
      readonly work?: Work;
    }
  /** An application's VACUUM, ANALYZE or REINDEX. */
  | { readonly kind: "maintain"; readonly node: number; readonly sql: string }
  | { readonly kind: "wait"; readonly node: number }
  /** Nothing goes from the first to the second. */
  | { readonly kind: "cut"; readonly links: readonly (readonly [number, number])[]; readonly ms: number }
  | { readonly kind: "break"; readonly a: number; readonly b: number }
  | { readonly kind: "weather"; readonly profile: NetworkProfile; readonly ms: number }
  | {
      readonly kind: "crash";
      readonly nodes: readonly number[];
      readonly power: PowerCut | null;
      readonly downMs: number;
      readonly looks: number;
    }
  | { readonly kind: "pause"; readonly node: number; readonly ms: number }
  | { readonly kind: "slow"; readonly node: number; readonly ms: number; readonly writeMs: number }
  | {
      readonly kind: "full";
      readonly node: number;
      readonly what: "log" | "replica" | "live";
      readonly ms: number;
    }
  /** The next write of the log, or the next sync of the application's file, fails. `written`: it is there all the same. */
  | {
      readonly kind: "error";
      readonly node: number;
      readonly what: "log" | "live";
      readonly written: boolean;
    }
  | { readonly kind: "clock"; readonly node: number; readonly jumpMs: number }
  | { readonly kind: "join"; readonly node: number }
  /** The application changes its schema; rows stay what they are. */
  | { readonly kind: "migrate"; readonly node: number; readonly what: Migration }
  /** Leadership of a shard is handed to a node. */
  | { readonly kind: "transfer"; readonly shard: number; readonly node: number };

export interface Planned {
  readonly at: number;
  readonly seed: number;
  readonly action: Action;
}

export interface Plan {
  readonly seed: number;
  readonly shards: number;
  /** Of several shards; older plans do not say it. */
  readonly transactions?: "whole" | "row";
  /** Applications write a table without a declared key, too, and VACUUM; older plans do not say it. */
  readonly keyless?: boolean;
  /** Applications empty change logs. */
  readonly custody?: boolean;
  /** The nodes ship to an archive. */
  readonly archived?: boolean;
  /** The schema is the generator's; absent: the simulator's own. */
  readonly generated?: Generated;
  /** Nodes that begin as members. */
  readonly members: number;
  /** The cluster is formed in the run itself, not copied from one that was. */
  readonly fresh: boolean;
  readonly keepEntries: number;
  readonly network: NetworkProfile;
  readonly rates: readonly number[];
  readonly eventLoss: number;
  readonly synchronous: readonly ("NORMAL" | "FULL")[];
  readonly recursiveTriggers: boolean;
  readonly foreignKeys: boolean;
  readonly ms: number;
  readonly actions: readonly Planned[];
}

export const MIGRATIONS = [
  "create",
  "drop",
  "index",
  "unindex",
  "view",
  "trigger",
  "version",
  "rebuild",
  "rebuild",
  "untrigger",
] as const;
export type Migration = (typeof MIGRATIONS)[number];

/** The same plan with changes of the schema in it, drawn apart so that the rest stays as it is. */
export function withMigrations(plan: Plan): Plan {
  const random = new Random(plan.seed ^ 0x6d696772);
  const drawn = Array.from({ length: random.between(1, 8) }, (): Planned => ({
    at: random.below(plan.ms),
    seed: random.next(),
    action: { kind: "migrate", node: random.below(plan.members), what: random.pick(MIGRATIONS) },
  }));
  const actions = [...plan.actions, ...drawn].sort((a, b) => a.at - b.at);
  return { ...plan, actions };
}

/** Tables of the simulated application whose change logs an action empties. */
const LOGGED = ["kv", "u", "w", "p", "c", "list", "bank", "bulk"] as const;

/** The same plan with emptied change logs in it, as cleaners of test suites leave them; drawn apart, too. */
export function withCustody(plan: Plan): Plan {
  const random = new Random(plan.seed ^ 0x63757374);
  const drawn = Array.from({ length: random.between(1, 6) }, (): Planned => {
    const sql = `DELETE FROM "__marmot__${random.pick(LOGGED)}_change_log"`;
    const action: Action = { kind: "maintain", node: random.below(plan.members), sql };
    return { at: random.below(plan.ms), seed: random.next(), action };
  });
  const actions = [...plan.actions, ...drawn].sort((a, b) => a.at - b.at);
  return { ...plan, custody: true, actions };
}

export interface Generated extends TrafficSchema {
  /** Works change the schema, too. */
  readonly migrations: boolean;
}

/**
 * The same plan with a schema and transactions that the generator of the differential test draws. The times and nodes
 * of its actions do not change.
 */
export function withGenerated(plan: Plan, migrations: boolean): Plan {
  const random = new Random(plan.seed ^ 0x67656e72);
  const traffic = new Traffic(random.next(), migrations);
  const actions = plan.actions.map((planned): Planned => {
    const { action } = planned;
    if (action.kind !== "write") return planned;
    const own = random.fork();
    if (own.chance(0.02)) {
      const sql = own.pick(["VACUUM", "ANALYZE", "REINDEX", "PRAGMA wal_checkpoint(PASSIVE)"]);
      return { ...planned, action: { kind: "maintain", node: action.node, sql } };
    }
    return { ...planned, action: { ...action, bulk: false, work: traffic.draw(own, action.statements) } };
  });
  return { ...plan, generated: { ...traffic.drawn, migrations }, actions };
}

/** One seed in so many has I/O errors. */
const ERRORS_EVERY = 7;

/** The same plan with I/O errors in it, drawn apart so that the rest stays as it is. */
function withErrors(plan: Plan): Plan {
  if (plan.seed % ERRORS_EVERY !== 3) return plan;
  const random = new Random(plan.seed ^ 0x65696f00);
  const drawn = Array.from({ length: random.between(1, 4) }, (): Planned => ({
    at: random.below(plan.ms),
    seed: random.next(),
    action: {
      kind: "error",
      node: random.below(plan.members),
      what: random.pick(["log", "log", "live"]),
      written: random.chance(0.5),
    },
  }));
  return { ...plan, actions: [...plan.actions, ...drawn].sort((a, b) => a.at - b.at) };
}

export const MAX_NODES = 4;

const FAULTS = [
  "cut",
  "break",
  "weather",
  "kill",
  "power",
  "all",
  "pause",
  "slow",
  "full",
  "clock",
  "transfer",
] as const;
type Fault = (typeof FAULTS)[number];

export function draw(seed: number): Plan {
  const random = new Random(seed);
  const shards = random.pick([1, 1, 1, 2, 4, 16]);
  const members = 3;
  const joins = random.chance(0.15);
  const nodes = joins ? MAX_NODES : members;
  const ms = random.pick([2000, 3000, 5000]);
  const writesPerSecond = random.pick([5, 15, 40]);
  // Not every fault in every run: some only show when others do not hide them.
  const faults = FAULTS.filter(() => random.chance(0.4));
  const faultCount = faults.length === 0 ? 0 : random.between(1, 10);
  const interrupts = random.pick([0, 0.2, 0.7]);
  const holds = random.pick([0, 0.05, 0.2]);
  const hot = random.chance(0.3) ? random.below(nodes) : -1;
  const actions: Planned[] = [];
  const add = (at: number, action: Action): void => void actions.push({ at, seed: random.next(), action });
  const writes = Math.round((writesPerSecond * ms) / 1000);
  for (let i = 0; i < writes; i++)
    add(random.below(ms), {
      kind: "write",
      node: hot >= 0 && random.chance(0.7) ? hot : random.below(nodes),
      statements: random.between(1, random.pick([1, 2, 6])),
      looks: random.chance(interrupts) ? random.between(1, 40) : 0,
      holdMs: random.chance(holds) ? random.between(1, 40) : 0,
      rollback: random.chance(0.05),
      bulk: random.chance(0.0015),
    });
  for (let i = random.below(6); i > 0; i--)
    add(random.below(ms), { kind: "wait", node: random.below(nodes) });
  for (let i = 0; i < faultCount; i++)
    add(random.below(ms), drawFault(random, random.pick(faults), nodes, shards));
  if (joins) add(random.below(ms / 2), { kind: "join", node: members });
  actions.sort((a, b) => a.at - b.at);
  const skew = random.chance(0.2) ? 50 : 5;
  return withErrors({
    seed,
    shards,
    transactions: shards > 1 && random.chance(0.35) ? "row" : "whole",
    members,
    fresh: random.chance(0.04),
    keepEntries: random.pick([4, 20, 2000]),
    network: drawNetwork(random),
    rates: Array.from({ length: MAX_NODES }, () => 1 + random.between(-skew, skew) / 100),
    eventLoss: random.pick([0, 0, 0.1, 1]),
    synchronous: Array.from({ length: MAX_NODES }, () => random.pick(["NORMAL", "NORMAL", "FULL"] as const)),
    recursiveTriggers: random.chance(0.3),
    foreignKeys: random.chance(0.7),
    ms,
    actions,
  });
}

function drawNetwork(random: Random): NetworkProfile {
  const latency: [number, number] = [0.2, random.pick([1, 1, 5, 40])];
  if (random.chance(0.7)) return { latency, ordered: true, loss: 0, duplication: 0 };
  return {
    latency,
    ordered: false,
    loss: random.pick([0, 0.05, 0.3]),
    duplication: random.pick([0, 0.1, 0.5]),
  };
}

function drawFault(random: Random, fault: Fault, nodes: number, shards: number): Action {
  const node = random.below(nodes);
  const other = (node + random.between(1, nodes - 1)) % nodes;
  const looks = random.chance(0.6) ? random.between(1, 60) : 0;
  const downMs = random.pick([10, 200, 1500, 3000]);
  switch (fault) {
    case "cut": {
      const others = Array.from({ length: nodes }, (_, i) => i).filter((i) => i !== node);
      const isolated = others.flatMap((o) => [[node, o] as const, [o, node] as const]);
      const links = random.pick([
        isolated,
        [[node, other] as const],
        [[node, other] as const, [other, node] as const],
        others.map((o) => [o, node] as const),
        others.map((o) => [node, o] as const),
      ]);
      return { kind: "cut", links, ms: random.pick([300, 1500, 4000]) };
    }
    case "break":
      return { kind: "break", a: node, b: other };
    case "weather":
      return { kind: "weather", profile: drawNetwork(random), ms: random.between(200, 2000) };
    case "kill":
      return { kind: "crash", nodes: [node], power: null, downMs, looks };
    case "power":
      return { kind: "crash", nodes: [node], power: drawCut(random), downMs, looks };
    case "all":
      return {
        kind: "crash",
        nodes: Array.from({ length: nodes }, (_, i) => i),
        power: random.chance(0.6) ? drawCut(random) : null,
        downMs,
        looks: 0,
      };
    case "pause":
      return { kind: "pause", node, ms: random.pick([50, 800, 3000]) };
    case "slow":
      return { kind: "slow", node, ms: random.between(200, 2000), writeMs: random.pick([2, 20, 150]) };
    case "full":
      return {
        kind: "full",
        node,
        what: random.pick(["log", "replica", "live"] as const),
        ms: random.between(50, 1500),
      };
    case "clock":
      return { kind: "clock", node, jumpMs: random.pick([-3_600_000, 3_600_000, 86_400_000]) };
    case "transfer":
      return { kind: "transfer", shard: random.below(shards), node };
  }
}

const drawCut = (random: Random): PowerCut => ({
  appDb: random.chance(0.7),
  replica: random.chance(0.7),
  log: random.chance(0.7),
});
