/**
 * CPU of each stage in µs a row: two pipelines on real files in one process, without Raft and network. For work on one
 * stage; `bench.ts` measures whole nodes.
 *
 *   bun scripts/bench-stages.ts [--kind insert,update,delete,unique,reference,text,wide] [--rows 30000] [--transaction 1000] [--shards 1]
 *
 * --transaction: rows of one transaction of the application; --shards: of the cluster.
 */
import type { Database } from "bun:sqlite";
import { Lab, type LabNode } from "../test/node/lab.ts";
import { BENCH_KINDS, type BenchKind, ofTable } from "./lib/bench-tables.ts";
import { parseScriptArgs } from "./lib/usage.ts";

const { values } = parseScriptArgs(import.meta.path, {
  kind: { type: "string", default: "insert,update,delete,unique,reference,text,wide" },
  rows: { type: "string", default: "30000" },
  transaction: { type: "string", default: "1000" },
  shards: { type: "string", default: "1" },
});
const ROWS = Number(values.rows);
const PER = Number(values.transaction);
/** Rows before the measured ones, until all code is compiled. */
const WARM_ROWS = 20_000;

const cpuMicros = (): number => {
  const { user, system } = process.cpuUsage();
  return user + system;
};

class Stages {
  readonly micros = new Map<string, number>();
  /** Of the stages inside of the measured one, so that no time counts twice. */
  #inner = 0;

  measure<T>(stage: string, work: () => T): T {
    const outer = this.#inner;
    this.#inner = 0;
    const start = cpuMicros();
    const result = work();
    const all = cpuMicros() - start;
    this.micros.set(stage, (this.micros.get(stage) ?? 0) + all - this.#inner);
    this.#inner = outer + all;
    return result;
  }

  /** Every call of the method counts for the stage. */
  wrap<K extends string, R>(owner: Record<K, (...args: never[]) => R>, method: K, stage: string): void {
    const whole = owner[method].bind(owner) as (...args: never[]) => R;
    owner[method] = (...args) => this.measure(stage, () => whole(...args));
  }

  /** The same for a method that is a generator. */
  wrapSteps(node: LabNode, stage: string): void {
    const { reflector } = node.pipeline.session;
    const run = reflector.run.bind(reflector);
    reflector.run = (...args) => {
      const steps = run(...args);
      const next = steps.next.bind(steps);
      steps.next = () => this.measure(stage, () => next());
      return steps;
    };
  }
}

async function measured(name: string, kind: BenchKind): Promise<void> {
  const lab = await Lab.create(ofTable(kind.schema, "t"), 2, Number(values.shards));
  const stages = new Stages();
  try {
    const [origin, other] = lab.nodes as [LabNode, LabNode];
    lab.settle();
    for (const [who, node] of Object.entries({ origin, other })) {
      node.replica.db.exec("PRAGMA synchronous = NORMAL");
      stages.wrap(node.replica.replica, "advance", `${who}: replica`);
      stages.wrap(node.replica.replica, "prune", `${who}: prune`);
      stages.wrapSteps(node, `${who}: reflect`);
    }
    origin.app.exec("PRAGMA synchronous = NORMAL");
    const rounds = (kind.again === undefined ? [kind.sql] : [kind.sql, kind.again]).map((sql) =>
      ofTable(sql, "t"),
    );
    let first = 1;
    const load = (sql: string, rows: number, round: number): void => {
      write({ app: origin.app, sql, first, rows, round, stages }, () => {
        origin.touch();
        stages.measure("origin: drain", () => {
          origin.turns();
          origin.order();
        });
        for (let i = 0; i < 2; i++) {
          stages.measure("other: rest", () => (other.deliver(), other.turns()));
          stages.measure("origin: rest", () => (origin.deliver(), origin.turns(), origin.order()));
          lab.clock += 30;
        }
      });
      lab.settle();
      for (const { replica } of lab.nodes) replica.checkpoint();
    };
    for (const [round, sql] of rounds.entries()) load(sql, WARM_ROWS, round);
    first += WARM_ROWS;
    for (const [round, sql] of rounds.entries()) {
      stages.micros.clear();
      load(sql, ROWS, round);
    }
  } finally {
    lab.close();
  }
  const figures = [...stages.micros].map(([stage, us]) => `${stage} ${(us / ROWS).toFixed(2)}`);
  const all = stages.micros.values().reduce((sum, us) => sum + us, 0);
  console.log(`${name.padEnd(10)} ${(all / ROWS).toFixed(1).padStart(6)}  ${figures.join(" · ")}`);
}

interface Load {
  readonly app: Database;
  readonly sql: string;
  readonly first: number;
  readonly rows: number;
  readonly round: number;
  readonly stages: Stages;
}

/** Transactions of the application, and after each one the turn of the nodes. */
function write({ app, sql, first, rows, round, stages }: Load, turn: () => void): void {
  const statement = app.prepare(sql);
  for (let from = first; from < first + rows; from += PER) {
    stages.measure("application", () => {
      app.exec("BEGIN IMMEDIATE");
      for (let id = from; id < Math.min(from + PER, first + rows); id++) statement.run(id, round);
      app.exec("COMMIT");
    });
    turn();
  }
  statement.finalize();
}

console.log("µs of CPU a row");
for (const name of values.kind.split(",")) {
  const kind = BENCH_KINDS[name];
  if (kind === undefined) throw new Error(`--kind ${name} is none of ${Object.keys(BENCH_KINDS).join(", ")}`);
  await measured(name, kind);
}
